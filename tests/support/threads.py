"""Real threads that start together, for tests of what happens when two do it at once."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import connections

T = TypeVar("T")

PATIENCE_SECONDS = 60.0


def run_together(work: Sequence[Callable[[], T]]) -> list[T | BaseException]:
    """
    Run each callable in a thread of its own, all released at the same moment; results or errors, in order.

    Needs ``committed_db``: threads have connections of their own, which see only what is committed.
    """
    barrier = threading.Barrier(len(work))
    outcomes: list[T | BaseException] = [RuntimeError("did not finish")] * len(work)

    def run(place: int, one: Callable[[], T]) -> None:
        try:
            barrier.wait(PATIENCE_SECONDS)
            outcomes[place] = one()
        except BaseException as error:  # noqa: BLE001  (handed to the test, which judges it)
            outcomes[place] = error
        finally:
            connections.close_all()  # else the test's database cannot be dropped

    threads = [threading.Thread(target=run, args=(place, one), daemon=True) for place, one in enumerate(work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return outcomes


def results(outcomes: Sequence[T | BaseException]) -> list[T]:
    """The results of threads none of which may have failed; the first error is raised."""
    clean: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        clean.append(outcome)
    return clean
