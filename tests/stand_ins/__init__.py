"""Processes that speak the real protocols of the outside, for tests and the demo."""
