"""Metering's screens: read only, and careful never to read through millions of rows to show fifty."""

from metering.admin import anomalies, archives, corrections, dead_letters, events, meters, requests, thresholds, usage

__all__ = [
    "anomalies",
    "archives",
    "corrections",
    "dead_letters",
    "events",
    "meters",
    "requests",
    "thresholds",
    "usage",
]
