"""Waiting for what another process does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(probe: Callable[[], T], *, seconds: float, what: str) -> T:
    """What ``probe`` answers once that is true; fails the test when it is not in time."""
    give_up_at = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > give_up_at:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.05)
