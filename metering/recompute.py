"""
What a window adds up to: its hourly summaries, recomputed from the events and written where they differ.

Most windows are summed from the covering index alone. A window that has a correction, whose hour is split, or whose
type has meters of its own is read from the events themselves:

* a correction never counts by itself. The latest gives its original another quantity, in the original's window, or
  takes it out where it voids it; the original's time and properties stand.
* a split hour has a row for each of its parts.
* a meter counts ``quantity``, or an integer property of 0 to 10^15; an event without one is counted as skipped.

Which way a window goes is decided by the statement that reads its events, in the snapshot that it reads them in.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.db import connection

from metering import models, statements

Window = tuple[int, int]
"""A series and an hour."""


_DENSE_WINDOWS: Final = 1_000
_DENSE_SHARE: Final = 3  # where at least one series in so many is touched in an hour, all of the hour is read


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Windows that are recomputed together, in one shard, at one moment."""

    shard: int
    windows: Sequence[Window]
    now: datetime
    types: Mapping[int, str]
    """The event types of series that are more than summed; others may be left out."""

    def of_type(self, event_type: str) -> "Slice | None":
        """The windows of one event type, where there are any."""
        windows = [window for window in self.windows if self.types.get(window[0]) == event_type]
        return replace(self, windows=windows) if windows else None

    def values(self) -> dict[str, Any]:
        """What the statements need. The bounds are known when they are planned: other months are not even locked."""
        event_hours = [hour for _, hour in self.windows]
        return {
            "series_ids": as_array(series_id for series_id, _ in self.windows),
            "hours": as_array(event_hours),
            "first_hour": min(event_hours),
            "last_hour": max(event_hours),
            "shard": self.shard,
            "now": self.now,
        }


def as_array(numbers: Iterable[int]) -> str:
    """An array as PostgreSQL reads it: psycopg's own dump of a long list takes as long as the statement."""
    return f"{{{','.join(map(str, numbers))}}}"


def recompute(*, slice_: Slice, meters: Iterable[models.Meter]) -> list[Window]:
    """
    Bring the hourly summaries of the windows up to date; a window for each row that changed.

    Idempotency: a summary is what its events add up to, whoever computes it and how often.
    Locks: none of its own. Requires an open transaction and aggregation's lock on the shard, or two who compute the
    same window could write out of order.
    """
    whole, single = _split_by_density(slice_)
    changed = _execute(statements.RECOMPUTE, single.values()) if single.windows else []
    if whole.windows:
        changed += _recompute_whole_hours(whole)
    if _may_be_special():
        changed += _execute(statements.SPECIAL, slice_.values())
    for meter in meters:
        if own := slice_.of_type(meter.event_type):
            changed += recompute_meter(slice_=own, meter=meter)
    return changed


def recompute_meter(*, slice_: Slice, meter: models.Meter) -> list[Window]:
    """The same for one meter, and windows of its type."""
    return _execute(statements.hourly(meter), slice_.values() | values_of(meter))


def find_types(*, windows: Sequence[Window], event_types: Iterable[str]) -> dict[int, str]:
    """The series of the windows that hold events of these types, and of which."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, event_type FROM metering_series WHERE event_type = ANY(%s) AND id = ANY(%s::int[])",
            [sorted(set(event_types)), as_array({series_id for series_id, _ in windows})],
        )
        return dict(cursor.fetchall())


def values_of(meter: models.Meter) -> dict[str, Any]:
    """What a meter's statement needs beside its slice."""
    values: dict[str, Any] = {"code": meter.code, "property": meter.property, "group_by": meter.group_by}
    for place, (name, accepted) in enumerate(sorted(meter.filters.items())):
        values |= {f"filter_{place}": name, f"accepted_{place}": accepted}
    return values


def _execute(statement: str, values: dict[str, Any]) -> list[Window]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _split_by_density(slice_: Slice) -> tuple[Slice, Slice]:
    """Windows of hours most of whose windows are touched, and the others."""
    counts = Counter(hour for _, hour in slice_.windows)
    dense = {hour for hour, count in counts.items() if count >= _DENSE_WINDOWS}
    if dense:
        with connection.cursor() as cursor:
            cursor.execute("SELECT max(id) FROM metering_series")  # of all shards, and of types that are silent
            (most,) = cursor.fetchone()
        dense = {hour for hour in dense if counts[hour] * _DENSE_SHARE >= most}
    whole = [window for window in slice_.windows if window[1] in dense] if dense else []
    single = [window for window in slice_.windows if window[1] not in dense] if dense else slice_.windows
    return replace(slice_, windows=whole), replace(slice_, windows=single)


def _recompute_whole_hours(slice_: Slice) -> list[Window]:
    with connection.cursor() as cursor:
        # The planner takes the list of windows for short, and would go through the hour once for each.
        cursor.execute("SET LOCAL enable_nestloop = off")
        values = slice_.values() | {"whole_hours": as_array({hour for _, hour in slice_.windows})}
        changed = _execute(statements.RECOMPUTE_WHOLE_HOURS, values)
        cursor.execute("SET LOCAL enable_nestloop = on")
    return changed


def _may_be_special() -> bool:
    """Whether there is any window that ``RECOMPUTE`` could have left out. Asked after it, so that none is missed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM metering_correction) OR EXISTS (SELECT FROM metering_window_split)",
        )
        return bool(cursor.fetchone()[0])
