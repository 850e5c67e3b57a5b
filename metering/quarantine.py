"""
Windows that cannot be recomputed: set aside, so that the others go on, and tried again.

A slice that fails is halved until the windows that fail are alone: a few tries more for the whole slice, and none for
slices that do not fail. While a window is set aside, usage is not fresh beyond the batches that it holds back.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, ProgrammingError, transaction
from django.db.models.functions import Least
from psycopg import errors as pg_errors

from billing_site.kernel import retry
from metering import models
from metering.recompute import Window

T = TypeVar("T")

POLICY: Final = retry.RetryPolicy(
    initial=timedelta(minutes=1), factor=2, maximum=timedelta(hours=6), attempts=20
)  # about three days
_MOST_FAILURES: Final = 100  # in one slice: beyond it is not the windows that are at fault
_ERROR_LENGTH: Final = 1_000

_log: Final = logging.getLogger(__name__)


def work_around(
    windows: Sequence[Window], work: Callable[[Sequence[Window]], list[T]]
) -> tuple[list[T], dict[Window, str]]:
    """
    What ``work`` answers for the windows that let themselves be worked, and the errors of those that do not.

    Requires an open transaction; each try is a savepoint. What is no fault of a window (the connection, a deadlock, a
    table that is not there) is raised, and so is the error when more than a hundred windows fail.
    """
    failed: dict[Window, str] = {}
    return _work_around(windows, work, failed), failed


def _work_around(
    windows: Sequence[Window], work: Callable[[Sequence[Window]], list[T]], failed: dict[Window, str]
) -> list[T]:
    if not windows:
        return []
    try:
        with transaction.atomic():
            return work(windows)
    except DatabaseError as error:
        if not _is_of_a_window(error) or len(failed) >= _MOST_FAILURES:
            raise
        if len(windows) == 1:
            _log.exception("window of series %s, hour %s was set aside", *windows[0])
            failed[windows[0]] = str(error)[:_ERROR_LENGTH]
            return []
    middle = len(windows) // 2
    return _work_around(windows[:middle], work, failed) + _work_around(windows[middle:], work, failed)


def _is_of_a_window(error: DatabaseError) -> bool:
    if isinstance(error, OperationalError):
        return isinstance(error.__cause__, pg_errors.QueryCanceled)  # it took too long: maybe one window did
    return not isinstance(error, ProgrammingError | InterfaceError)


def set_aside(*, shard: int, failed: Mapping[Window, str], started_at: datetime, now: datetime) -> None:
    """
    Keep windows that failed, to be tried again later each time.

    ``started_at`` is no later than any batch that is not counted because of them. Requires aggregation's lock on the
    shard.
    """
    known = {(row.series_id, row.event_hour): row for row in _rows(failed)}
    for window, error in failed.items():
        row = known.get(window)
        if row is None:
            row = models.QuarantinedWindow(
                shard=shard,
                series_id=window[0],
                event_hour=window[1],
                attempts=0,
                started_at=started_at,
                first_failed_at=now,
            )
        row.attempts += 1
        row.error = error
        row.started_at = min(row.started_at, started_at)
        row.last_failed_at = now
        retry_at = POLICY.next_attempt_at(attempts=row.attempts, now=now)
        row.state = models.QuarantineState.WAITING if retry_at else models.QuarantineState.STUCK
        row.retry_at = retry_at or now
        row.save()


def hold_back(*, windows: Iterable[Window], started_at: datetime) -> set[Window]:
    """
    Those of the windows that are set aside already: they wait for their time, whatever touches them meanwhile.

    Requires aggregation's lock on the shard.
    """
    held = _rows(windows)
    ids = [row.pk for row in held]
    models.QuarantinedWindow.objects.filter(pk__in=ids).update(started_at=Least("started_at", started_at))
    return {(row.series_id, row.event_hour) for row in held}


def list_due(*, shard: int, now: datetime, limit: int) -> list[models.QuarantinedWindow]:
    """Windows whose time to be tried again has come."""
    waiting = models.QuarantinedWindow.objects.filter(
        shard=shard, state=models.QuarantineState.WAITING, retry_at__lte=now
    )
    return list(waiting.order_by("retry_at", "id")[:limit])


def release(*, now: datetime, ids: Iterable[int] | None = None) -> int:
    """Have quarantined windows (all, or these) tried again by the next run, however often they failed; how many."""
    windows = models.QuarantinedWindow.objects.all()
    if ids is not None:
        windows = windows.filter(pk__in=list(ids))
    return windows.update(state=models.QuarantineState.WAITING, retry_at=now, attempts=0)


def _rows(windows: Iterable[Window]) -> list[models.QuarantinedWindow]:
    """The rows of those that are set aside. All that there are is few."""
    rows = list(models.QuarantinedWindow.objects.all())
    wanted = set(windows) if rows else set()
    return [row for row in rows if (row.series_id, row.event_hour) in wanted]
