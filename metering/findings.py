"""
What stands out when the stages of a tenant's usage are laid side by side, in words.

The hours are seen once, in order of time, with a day before the period and a day after it; what is remembered of each
event type is bounded, however long the period is. A finding says what was seen and what it may mean; those that
somebody must act on say so.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from billing_site.kernel import clock
from metering import hours

MARGIN_HOURS: Final = 24  # seen before and after the period
_ZONES_REACH: Final = 14  # hours that a time zone can lie from UTC
_DAY: Final = 24
_BUSY: Final = 18  # of the 24 hours before a silence: with fewer, silence is nothing new
_TOLERANCE: Final = 1  # hours: where a shift is no whole hour, both ends of it are cut
_LISTED: Final = 50  # findings of one kind; the rest is counted


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that stands out. ``needs_person``: it does not mend itself."""

    code: str
    event_type: str
    detail: str
    needs_person: bool


@dataclass(slots=True, kw_only=True)
class HourRow:
    """
    The stages of one event type in one hour, side by side, in events (``..._quantity``: what they add up to).

    ``counted`` is what the stored events come to when corrections are applied, which is what ``summarised`` should be.
    ``accepted`` events lie in the hour of their timestamp, and so do duplicates and conflicts; a dead letter lies where
    its payload says, or where it arrived.
    """

    event_type: str
    hour: int
    accepted: int = 0
    accepted_quantity: int = 0
    duplicates: int = 0
    conflicts: int = 0
    dead_letters: int = 0
    open_dead_letters: int = 0
    late: int = 0
    counted: int = 0
    counted_quantity: int = 0
    summarised: int = 0
    summarised_quantity: int = 0
    billed: int = 0
    computed_at: datetime | None = None
    waits_since: datetime | None = None
    is_quarantined: bool = False


@dataclass
class Notebook:
    """Findings in the order in which they came up; of each kind no more than anyone reads."""

    findings: list[Finding] = field(default_factory=list)
    unlisted: int = 0
    needs_person: bool = False
    _counts: dict[str, int] = field(default_factory=dict)

    def note(self, code: str, event_type: str, detail: str, *, needs_person: bool = False) -> None:
        """Keep a finding."""
        self.needs_person = self.needs_person or needs_person
        self._counts[code] = self._counts.get(code, 0) + 1
        if self._counts[code] > _LISTED:
            self.unlisted += 1
            return
        self.findings.append(Finding(code=code, event_type=event_type, detail=detail, needs_person=needs_person))


@dataclass
class _Gap:
    """Hours in a row whose summaries do not say what their events do, for one reason."""

    reason: str
    first: int
    end: int
    events: int
    summarised: int


@dataclass
class _Seen:
    """What is remembered of one event type."""

    gap: _Gap | None = None
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=_DAY))
    by_hour_of_day: list[int] = field(default_factory=lambda: [0] * _DAY)
    first_inside: int | None = None
    last_inside: int | None = None
    before: dict[int, int] = field(default_factory=dict)
    after: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Usage that lies ``hours`` beside the period as if it were in days of another time zone."""

    event_type: str
    is_early: bool
    edge_hour: int  # the outermost hour outside with events
    events: int


class Watch:
    """Sees the hours go by. ``first`` and ``end`` are the period's hours; ``running`` the one that is not over."""

    def __init__(self, *, notebook: Notebook, first: int, end: int, running: int) -> None:
        self._notebook = notebook
        self._first = first
        self._end = end
        self._running = running
        self._seen: dict[str, _Seen] = {}

    def see(self, row: HourRow) -> None:
        """One hour of one type, in order of time; hours without anything are not seen."""
        seen = self._seen.setdefault(row.event_type, _Seen())
        if self._first <= row.hour < self._end:
            self._see_gap(seen, row)
        if row.accepted:
            self._see_activity(seen, row)

    def event_types(self) -> list[str]:
        """Those that were seen."""
        return sorted(self._seen)

    def finish(self) -> list[Shift]:
        """Note what is still open at the end; the shifts, whose exact reach the events must tell."""
        shifts = []
        for event_type, seen in sorted(self._seen.items()):
            self._close_gap(event_type, seen)
            self._note_silence(event_type, seen, min(self._end, self._running), is_over=False)
            if shift := self._find_shift(event_type, seen):
                shifts.append(shift)
        return shifts

    def _see_gap(self, seen: _Seen, row: HourRow) -> None:
        differs = (row.counted, row.counted_quantity) != (row.summarised, row.summarised_quantity)
        reason = _reason(row) if differs else ""
        gap = seen.gap
        if gap and (reason != gap.reason or row.hour != gap.end):
            self._close_gap(row.event_type, seen)
            gap = None
        if not differs:
            return
        if gap is None:
            gap = seen.gap = _Gap(reason=reason, first=row.hour, end=row.hour, events=0, summarised=0)
        gap.end = row.hour + 1
        gap.events += row.counted
        gap.summarised += row.summarised

    def _close_gap(self, event_type: str, seen: _Seen) -> None:
        gap, seen.gap = seen.gap, None
        if gap is None:
            return
        code, meaning, needs_person = _REASONS[gap.reason]
        self._notebook.note(
            code,
            event_type,
            f"{event_type}: {_range(gap.first, gap.end)}: the events come to {gap.events:,}, of which the summaries "
            f"count {gap.summarised:,}. {meaning}",
            needs_person=needs_person,
        )

    def _see_activity(self, seen: _Seen, row: HourRow) -> None:
        self._note_silence(row.event_type, seen, row.hour, is_over=True)
        seen.recent.append(row.hour)
        if row.hour < self._first:
            seen.before[row.hour] = row.accepted
        elif row.hour >= self._end:
            seen.after[row.hour] = row.accepted
        else:
            seen.by_hour_of_day[row.hour % _DAY] += 1
            seen.first_inside = row.hour if seen.first_inside is None else seen.first_inside
            seen.last_inside = row.hour

    def _note_silence(self, event_type: str, seen: _Seen, until: int, *, is_over: bool) -> None:
        """A silence is one when it is longer than all the silence of the day before it."""
        if not seen.recent:
            return
        silent_from = seen.recent[-1] + 1
        active = sum(hour >= silent_from - _DAY for hour in seen.recent)
        first, end = max(silent_from, self._first), min(until, self._end)
        if end <= first or active < _BUSY or until - silent_from <= _DAY - active:
            return
        ending = "" if is_over else " and had not resumed by then"
        self._notebook.note(
            "silent_hours",
            event_type,
            f"{event_type}: no events in {_range(first, end)}, after {active} busy hours of the 24 before{ending}. "
            "Ask whether the sender stood still, or whether its events were lost on the way here.",
        )

    def _find_shift(self, event_type: str, seen: _Seen) -> Shift | None:
        """Usage that lies outside at one edge by as much as it is missing inside at the other."""
        if seen.first_inside is None or seen.last_inside is None:
            return None
        missing_at_end = self._end - 1 - seen.last_inside
        missing_at_start = seen.first_inside - self._first
        if seen.before and not seen.after:
            reach = self._first - min(seen.before)
            if self._is_shift(seen, reach, missing_at_end, range(seen.last_inside + 1, self._end)):
                return Shift(
                    event_type=event_type,
                    is_early=True,
                    edge_hour=min(seen.before),
                    events=sum(seen.before.values()),
                )
        if seen.after and not seen.before:
            reach = max(seen.after) + 1 - self._end
            if self._is_shift(seen, reach, missing_at_start, range(self._first, seen.first_inside)):
                return Shift(
                    event_type=event_type, is_early=False, edge_hour=max(seen.after), events=sum(seen.after.values())
                )
        return None

    def _is_shift(self, seen: _Seen, reach: int, missing: int, missing_hours: range) -> bool:
        if not (1 <= reach <= _ZONES_REACH and missing >= 1 and abs(reach - missing) <= _TOLERANCE):
            return False
        # Hours that are silent on every day are the sender's habit, not a shift.
        days = max((self._end - self._first) // _DAY, 1)
        usual = sum(seen.by_hour_of_day[hour % _DAY] for hour in missing_hours)
        return days > 1 and usual * 2 >= (days - 1) * len(missing_hours)


def tell_shift(*, notebook: Notebook, shift: Shift, reach: timedelta, edge: datetime) -> None:
    """Note a shift, whose ``reach`` beyond the ``edge`` of the period the events told."""
    zone = f"UTC{'+' if shift.is_early else '-'}{_offset(reach)}"
    side, other, begins = ("before", "end", "begins") if shift.is_early else ("after", "start", "ends")
    notebook.note(
        "shifted_day",
        shift.event_type,
        f"{shift.event_type}: usage {begins} {_offset(reach)} {side} {clock.format_instant(edge)} and is missing for "
        f"as long before the period's {other if shift.is_early else 'first events'}: {shift.events:,} events lie just "
        f"outside the period. They look like days of {zone}: whoever counted by such days will find other numbers.",
    )


def _reason(row: HourRow) -> str:
    if row.is_quarantined:
        return "quarantined"
    return "waiting" if row.waits_since else "lost"


_REASONS: Final = {
    "waiting": (
        "not_summarised",
        "They wait for the next aggregation, which will count them.",
        False,
    ),
    "quarantined": (
        "quarantined",
        "The windows are quarantined, because they could not be recomputed: mend what their error says, release them.",
        True,
    ),
    "lost": (
        "summary_differs",
        "Nothing waits that would mend this: touch the windows again, and find out who changed what.",
        True,
    ),
}


def _range(first: int, end: int) -> str:
    count = end - first
    text = f"{clock.format_instant(hours.start_of(first))} to {clock.format_instant(hours.start_of(end))}"
    return f"{text} ({count:,} hour{'s' if count > 1 else ''})"


def _offset(reach: timedelta) -> str:
    minutes = round(reach.total_seconds() / 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"
