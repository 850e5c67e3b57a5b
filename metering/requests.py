"""
The request roll-up: what a tenant's gateway requests add up to by hour, day and month, with its endpoints and API keys.

Recomputed for touched windows alone, in the slice that recomputes their usage: hours from the events, days from hours,
months from days. Different endpoints and API keys are counted again from the windows below, never added. A window names
its ``MAX_NAMES`` busiest endpoints; the rest share an empty name, so that a gateway that puts ids into its endpoints
cannot make the roll-up as large as the events. Beyond that a day's and a month's counts of different ones are at least
what they say; every other figure stays exact.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from metering import hours, models, partitions, request_rollup, spans, usage

EVENT_TYPE: Final = request_rollup.EVENT_TYPE
MAX_NAMES: Final = 1_000
LIST_ENDPOINTS: Final = request_rollup.list_endpoints(usage.FRESH_AS_OF)
LIST_HOURS: Final = request_rollup.list_hours(usage.FRESH_AS_OF)
_THOUSANDTH: Final = Decimal("0.001")
_MILLIONTH: Final = Decimal("0.000001")


@dataclass(frozen=True, kw_only=True)
class RequestTotals:
    """What a tenant's requests add up to over a period. ``units`` is what the meter ``api.request`` sums."""

    requests: int
    billable_requests: int
    units: int
    response_time_ms: Decimal
    timed_requests: int
    successes: int
    client_errors: int
    server_errors: int

    @property
    def average_response_time_ms(self) -> Decimal | None:
        """To a microsecond, over the requests that told a time; None where none did."""
        return _average(self.response_time_ms, self.timed_requests)


@dataclass(frozen=True, kw_only=True)
class EndpointRow:
    """What requests of one endpoint add up to; without ``endpoint``, those that have no row of their own."""

    tenant_id: str
    endpoint: str | None
    request_count: int
    average_response_time_ms: Decimal | None
    client_error_count: int
    server_error_count: int

    @property
    def error_count(self) -> int:
        """4xx and 5xx together."""
        return self.client_error_count + self.server_error_count


@dataclass(frozen=True, kw_only=True)
class ErrorRateRow:
    """How many of an hour's requests failed, and which share of all its requests that is."""

    tenant_id: str
    period_start: datetime
    period_end: datetime
    request_count: int
    client_error_count: int
    server_error_count: int

    @property
    def client_error_rate(self) -> Decimal:
        """The share of 4xx, from 0 to 1, to a millionth."""
        return (Decimal(self.client_error_count) / self.request_count).quantize(_MILLIONTH)

    @property
    def server_error_rate(self) -> Decimal:
        """The share of 5xx, from 0 to 1, to a millionth."""
        return (Decimal(self.server_error_count) / self.request_count).quantize(_MILLIONTH)


@dataclass(frozen=True)
class EndpointPage:
    """Endpoints, most requests first, and since when later requests may not be counted yet."""

    rows: Sequence[EndpointRow]
    has_more: bool
    fresh_as_of: datetime


@dataclass(frozen=True)
class ErrorRatePage:
    """Hours in time order, and since when later requests may not be counted yet."""

    rows: Sequence[ErrorRateRow]
    has_more: bool
    fresh_as_of: datetime


def recompute(*, windows: Collection[tuple[int, int]], now: datetime) -> int:
    """
    Bring the roll-up of the windows (series and hour) that hold requests up to date; the rows that changed.

    Windows of other event types are passed over.
    Idempotency: a row is what its events add up to, whoever computes it and how often.
    Locks: none of its own. Requires an open transaction, and that no other computes these windows at the same time:
    aggregation's lock on their shard holds both.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, tenant_id FROM metering_series WHERE event_type = %s AND id = ANY(%s::int[])",
            [EVENT_TYPE, sorted({series_id for series_id, _ in windows})],
        )
        tenants: dict[int, str] = dict(cursor.fetchall())
        touched = [(series_id, hour) for series_id, hour in windows if series_id in tenants]
        if not touched:
            return 0
        event_hours = [hour for _, hour in touched]
        values: dict[str, Any] = {
            "tenant_ids": [tenants[series_id] for series_id, _ in touched],
            "series_ids": [series_id for series_id, _ in touched],
            "hours": event_hours,
            # Known when the statement is planned, so that only these months are locked and looked at.
            "first_hour": min(event_hours),
            "last_hour": max(event_hours),
            "max_names": MAX_NAMES,
            "now": now,
        }
        changed = 0
        for statement in request_rollup.RECOMPUTE:
            cursor.execute(statement, values)
            changed += int(cursor.fetchone()[0])
    return changed


def get_totals(*, tenant_id: str, period_start: datetime, period_end: datetime) -> RequestTotals:
    """
    What a tenant's requests add up to in ``period_start <= t < period_end``; zeros where there are none. One statement.

    Whole hours are as fresh as the roll-up, which is as fresh as usage: ``usage`` tells. A part of an hour at an edge
    is summed from the events.
    """
    first, last = hours.hour_of(period_start), hours.hour_of(period_end)
    first_whole = hours.first_hour_from(period_start)
    end_whole = max(last, first_whole)
    covered = {hour for hour in (first, last) if period_start < period_end and hours.start_of(hour) < period_end}
    with connection.cursor() as cursor:
        cursor.execute(
            request_rollup.SUM_TOTALS,
            {
                "tenant_id": tenant_id,
                "event_type": EVENT_TYPE,
                **_spans(hours.start_of(first_whole), hours.start_of(end_whole)),
                "edge_hours": [hour for hour in covered if not first_whole <= hour < end_whole],
                "first_hour": first,
                "last_hour": last,
                "period_start": period_start,
                "period_end": period_end,
            },
        )
        found = [value or 0 for value in cursor.fetchone()]
    whole = [int(value) for value in found]
    return RequestTotals(
        requests=whole[0],
        billable_requests=whole[1],
        units=whole[2],
        response_time_ms=Decimal(found[3]),
        timed_requests=whole[4],
        successes=whole[5],
        client_errors=whole[6],
        server_errors=whole[7],
    )


def list_endpoints(
    *,
    tenant_id: str,
    period_from: datetime,
    period_to: datetime,
    limit: int,
    after: tuple[int, str] | None = None,
) -> EndpointPage:
    """
    A tenant's endpoints by how many requests they had, most first; ties by name.

    The period is widened to whole hours. ``after`` is the count and the name of the last row of the page before; the
    name of a row without endpoint is empty.
    """
    start, end = _whole_hours(period_from, period_to)
    values = {
        "tenant_id": tenant_id,
        **_spans(start, end),
        "after_requests": after[0] if after else None,
        "after_name": after[1] if after else None,
        "limit": limit + 1,
    }
    as_of, found = _fetch(LIST_ENDPOINTS, values)
    rows = [
        EndpointRow(
            tenant_id=tenant_id,
            endpoint=name or None,
            request_count=int(requests),
            average_response_time_ms=_average(response_time_ms, int(timed)),
            client_error_count=int(client_errors),
            server_error_count=int(server_errors),
        )
        for name, requests, response_time_ms, timed, client_errors, server_errors in found
    ]
    return EndpointPage(rows[:limit], has_more=len(rows) > limit, fresh_as_of=as_of)


def list_error_rates(
    *,
    tenant_id: str,
    period_from: datetime,
    period_to: datetime,
    limit: int,
    after: datetime | None = None,
) -> ErrorRatePage:
    """
    The share of 4xx and 5xx in each hour that has requests, in time order.

    The period is widened to whole hours. ``after`` is the start of the last row of the page before.
    """
    start, end = _whole_hours(period_from, period_to)
    values = {"tenant_id": tenant_id, "from": start, "to": end, "after": after, "limit": limit + 1}
    as_of, found = _fetch(LIST_HOURS, values)
    rows = [
        ErrorRateRow(
            tenant_id=tenant_id,
            period_start=starts_at,
            period_end=starts_at + timedelta(hours=1),
            request_count=requests,
            client_error_count=client_errors,
            server_error_count=server_errors,
        )
        for starts_at, requests, client_errors, server_errors in found
    ]
    return ErrorRatePage(rows[:limit], has_more=len(rows) > limit, fresh_as_of=as_of)


def _fetch(statement: str, values: dict[str, Any]) -> tuple[datetime, list[tuple[Any, ...]]]:
    """How fresh the rows are, and the rows: one of nothing stands for none."""
    # Days and months are written with their hours, and no meter but the type's own is read.
    freshness: dict[str, Any] = {"is_rolled_up": False, "codes": []}
    with connection.cursor() as cursor:
        cursor.execute(statement, values | freshness)
        found = cursor.fetchall()
    return found[0][0], [row[1:] for row in found if row[2] is not None]


def _average(total: Decimal, count: int) -> Decimal | None:
    return (total / count).quantize(_THOUSANDTH) if count else None


def _whole_hours(period_from: datetime, period_to: datetime) -> tuple[datetime, datetime]:
    """The whole hours around a period, within the years that events can lie in."""
    start, end = max(period_from, partitions.EARLIEST), min(period_to, partitions.LATEST)
    return hours.start_of(hours.hour_of(start)), hours.start_of(hours.first_hour_from(end))


def _spans(start: datetime, end: datetime) -> dict[str, list[Any]]:
    """Whole hours as rows of whole months, then days, then hours."""
    cut = spans.cut(start, end, coarsest=models.Granularity.MONTH)
    return {
        "granularities": [span.granularity.value for span in cut],
        "starts": [span.starts_at for span in cut],
        "ends": [span.ends_at for span in cut],
    }
