"""
The answer to "our numbers are wrong": what came of a tenant's usage, stage by stage and hour by hour.

Accepted, duplicates, conflicts, dead letters, late, summarised, billed: read from what each stage stored, not from what
the next one says of it, and compared. The hours are read in slices and handed on one by one, so that a long period
needs no more memory than a short one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from billing_site.kernel import clock
from metering import errors, findings, hours, models, partitions, stages, usage
from metering.findings import HourRow

_QUARTER: Final = timedelta(minutes=15)
_NEAR: Final = timedelta(hours=26)  # two days of different time zones begin no further apart


@dataclass(frozen=True, kw_only=True)
class Investigation:
    """
    What was found of one tenant between two hours.

    ``stages`` are the totals in events; ``quantities`` what the accepted and the summarised ones add up to.
    ``needs_person``: something does not mend itself.
    """

    tenant_id: str
    period_from: datetime
    period_to: datetime
    event_types: Sequence[str]
    hours_with_usage: int
    stages: dict[str, int]
    quantities: dict[str, int]
    fresh_as_of: datetime
    findings: Sequence[findings.Finding]
    unlisted_findings: int
    needs_person: bool


def investigate(
    *,
    tenant_id: str,
    period_from: datetime,
    period_to: datetime,
    now: datetime,
    meter: str | None = None,
    on_hour: Callable[[HourRow], None] = lambda _: None,
) -> Investigation:
    """
    Lay the stages side by side, by event type and hour, in ``period_from <= t < period_to`` widened to whole hours.

    ``meter`` keeps to the events that one meter counts. ``on_hour`` gets each hour that has anything, in order of time.
    Reads only.

    Raises:
        errors.InvalidPeriod: the period is empty.
    """
    if period_to <= period_from:
        raise errors.InvalidPeriod("the period must end after it begins")
    period_from, period_to = max(period_from, partitions.EARLIEST), min(period_to, partitions.LATEST)
    first, end = hours.hour_of(period_from), hours.first_hour_from(period_to)
    fresh_as_of = usage.fresh_as_of(tenant_id=tenant_id)
    scope = stages.find_scope(tenant_id, meter, hours.start_of(first), hours.start_of(end))
    notebook = findings.Notebook()
    watch = findings.Watch(notebook=notebook, first=first, end=end, running=hours.hour_of(now))
    totals = dict.fromkeys((field.name for field in fields(HourRow)), 0)
    counted_hours: set[int] = set()
    hours_with_usage = 0
    for slice_first, slice_end in stages.slices(first, end, len(scope.series)):
        counted_hours.clear()
        for row in stages.read_slice(scope, slice_first, slice_end):
            watch.see(row)
            if first <= row.hour < end:
                counted_hours.add(row.hour)
                for name in (*stages.STAGES, "open_dead_letters", "accepted_quantity", "summarised_quantity"):
                    totals[name] += getattr(row, name)
                on_hour(row)
        hours_with_usage += len(counted_hours)
    for shift in watch.finish():
        _tell_shift(scope, notebook, shift, first, end)
    _note_archived(scope, notebook, first, end)
    _note_corrections(scope, notebook, first, end)
    _note_edges(scope, notebook, period_from, period_to)
    _note_billing(scope, notebook, first, end)
    _note_dead_letters(scope, notebook, first, end)
    return Investigation(
        tenant_id=tenant_id,
        period_from=hours.start_of(first),
        period_to=hours.start_of(end),
        event_types=watch.event_types(),
        hours_with_usage=hours_with_usage,
        stages={name: totals[name] for name in stages.STAGES},
        quantities={"accepted": totals["accepted_quantity"], "summarised": totals["summarised_quantity"]},
        fresh_as_of=fresh_as_of,
        findings=notebook.findings,
        unlisted_findings=notebook.unlisted,
        needs_person=notebook.needs_person,
    )


def _tell_shift(scope: stages.Scope, notebook: findings.Notebook, shift: findings.Shift, first: int, end: int) -> None:
    series_id = next(series_id for series_id, event_type in scope.series if event_type == shift.event_type)
    events = models.Event.objects.filter(event_hour=shift.edge_hour, series_id=series_id)
    outermost = events.order_by("event_timestamp" if shift.is_early else "-event_timestamp").first()
    if outermost is None:
        return
    edge = hours.start_of(first if shift.is_early else end)
    reach = abs(edge - outermost.event_timestamp)
    tell = timedelta(seconds=-(-reach.total_seconds() // _QUARTER.total_seconds()) * _QUARTER.total_seconds())
    findings.tell_shift(notebook=notebook, shift=shift, reach=tell, edge=edge)


def _note_archived(scope: stages.Scope, notebook: findings.Notebook, first: int, end: int) -> None:
    for month in sorted(scope.dropped_months):
        if hours.month_of(first) <= month <= hours.month_of(end - 1):
            notebook.note(
                "period_archived",
                "",
                f"{month:%Y-%m}: its events are archived, and its accepted ones are not counted here unless they are "
                "still on line; the summaries stand. Restore the month to look into it.",
            )


def _note_corrections(scope: stages.Scope, notebook: findings.Notebook, first: int, end: int) -> None:
    for event_type, unknown, faulty in stages.list_idle_corrections(scope, first, end):
        notebook.note(
            "corrections_idle",
            event_type,
            f"{event_type}: {unknown:,} of the corrections name an event that did not come yet, and {faulty:,} name a "
            "correction or an event of another type: they change nothing.",
            needs_person=faulty > 0,
        )


def _note_edges(scope: stages.Scope, notebook: findings.Notebook, period_from: datetime, period_to: datetime) -> None:
    """A period that was billed and begins or ends nearly, but not quite, where the one asked for does."""
    told: set[tuple[datetime, datetime, str]] = set()
    for one in scope.billed:
        for asked, billed, word in ((period_from, one.period_start, "begins"), (period_to, one.period_end, "ends")):
            if not timedelta() < abs(asked - billed) <= _NEAR or (asked, billed, one.meter) in told:
                continue
            told.add((asked, billed, one.meter))
            between = usage.totals(
                tenant_id=scope.tenant_id,
                meters=[one.meter],
                period_start=min(asked, billed),
                period_end=max(asked, billed),
            )[one.meter]
            if between.event_count:
                notebook.note(
                    "edges_differ",
                    scope.type_of_meter[one.meter],
                    f"{one.meter}: {one.reference} bills a period that {word} {clock.format_instant(billed)}, and the "
                    f"one asked for {word} {clock.format_instant(asked)}: {_events(between.event_count)} (quantity "
                    f"{between.total_quantity:,}) lie between, on one side only. Its days are those of its time zone.",
                )


def _note_billing(scope: stages.Scope, notebook: findings.Notebook, first: int, end: int) -> None:
    """Late usage, invoices that say something else than the meters, and usage that nothing bills."""
    for one in scope.billed:
        if one.billed_at is None:
            notebook.note(
                "not_billed_yet",
                scope.type_of_meter[one.meter],
                f"{one.meter}: the draft {one.reference} holds {_figure(one.quantity)} so far; it may change.",
            )
            continue
        if one.late_quantity or one.late_event_count:
            events = "some events" if one.late_event_count is None else _events(one.late_event_count)
            notebook.note(
                "late_after_finalization",
                scope.type_of_meter[one.meter],
                f"{one.meter}: {events} (quantity {_figure(one.late_quantity)}) of {one.reference} came "
                f"or changed after it was finalized at {clock.format_instant(one.billed_at)}. What it billed stands at "
                f"{_figure(one.quantity)}.",
            )
        now_counted = usage.totals(
            tenant_id=scope.tenant_id,
            meters=[one.meter],
            period_start=one.period_start,
            period_end=one.period_end,
        )[one.meter]
        unexplained = now_counted.quantity - one.quantity - one.late_quantity
        if unexplained:
            notebook.note(
                "billed_differs",
                scope.type_of_meter[one.meter],
                f"{one.meter}: {one.reference} billed {_figure(one.quantity)}, the meter now says "
                f"{_figure(now_counted.quantity)}, and {_figure(one.late_quantity)} of that is known to be late: "
                f"{_figure(unexplained)} is not accounted for, or not noticed as late yet.",
                needs_person=True,
            )
    billed_types = {scope.type_of_meter[one.meter] for one in scope.billed}
    for event_type in sorted({name for _, name in scope.series} - billed_types) if scope.billed else ():
        total = usage.totals(
            tenant_id=scope.tenant_id,
            meters=[event_type],
            period_start=hours.start_of(first),
            period_end=hours.start_of(end),
        )[event_type]
        if total.event_count:
            notebook.note(
                "not_priced",
                event_type,
                f"{event_type}: {_events(total.event_count)} summarised, and no price on this period's invoices "
                "names a meter of theirs.",
            )


def _note_dead_letters(scope: stages.Scope, notebook: findings.Notebook, first: int, end: int) -> None:
    for code, still_open, times in stages.list_open_codes(scope, first, end):
        meaning = _MEANINGS.get(code, "Correct and replay them, or discard them with a reason.")
        notebook.note(
            "dead_letters_open",
            scope.event_type or "",
            f"{still_open:,} dead letter{'s are' if still_open > 1 else ' is'} open as {code}, sent {times:,} "
            f"time{'s' if times > 1 else ''} in all. {meaning}",
            needs_person=True,
        )


_MEANINGS: Final = {
    "timestamp_in_future": "Events from the future come of a clock that is wrong, or of local times sent as UTC.",
    "timestamp_too_old": "Old events are taken as a backfill only, by a key that may.",
    "idempotency_conflict": "A key was used again for other values, and the first event stands: correct it by a new "
    "event that names it.",
    "quota_exceeded": "They can be replayed once the quota's period is over.",
    "tenant_forbidden": "A key that is bound to this tenant sent events of another.",
}


def _figure(quantity: Decimal | int) -> str:
    """A quantity without the zeros that only its column needs."""
    return f"{Decimal(quantity).normalize():,f}"


def _events(count: int) -> str:
    return f"{count:,} event{'s' if abs(count) != 1 else ''}"
