"""Metering's screens: read only, and careful never to read through millions of rows to show fifty."""

from metering.admin import archives, corrections, dead_letters, events, requests, thresholds, usage

__all__ = ["archives", "corrections", "dead_letters", "events", "requests", "thresholds", "usage"]
