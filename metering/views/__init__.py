"""Metering's endpoints, a module for each noun."""
