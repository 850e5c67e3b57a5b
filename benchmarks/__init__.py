"""Benchmarks: each makes its own servers, measures beside a baseline of the same run, and prints ratios."""
