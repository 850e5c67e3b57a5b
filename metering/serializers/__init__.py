"""Metering on the wire, a module for each noun: what queries may ask, and how rows are answered."""
