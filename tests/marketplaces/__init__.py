"""Tests of marketplaces."""
