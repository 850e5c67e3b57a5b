"""A time cut into whole months, days and hours of UTC, so that a year is read from a dozen rows and not from 8,760."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from metering import hours, models


@dataclass(frozen=True)
class Span:
    """Rows of one granularity whose ``period_start`` is in ``starts_at <= t < ends_at``."""

    granularity: models.Granularity
    starts_at: datetime
    ends_at: datetime


def cut(start: datetime, end: datetime, *, coarsest: models.Granularity) -> Sequence[Span]:
    """Whole hours from ``start`` to ``end`` as rows no coarser than ``coarsest``; in time order, none of them empty."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    spans = [Span(models.Granularity.HOUR, start, end)]
    if coarsest != models.Granularity.HOUR:
        spans = _coarsen(spans, models.Granularity.DAY, _day_of, _day_after)
    if coarsest == models.Granularity.MONTH:
        spans = _coarsen(spans, models.Granularity.MONTH, _month_of, _month_after)
    return [span for span in spans if span.starts_at < span.ends_at]


def _coarsen(
    spans: Sequence[Span],
    granularity: models.Granularity,
    floor: Callable[[datetime], datetime],
    after: Callable[[datetime], datetime],
) -> list[Span]:
    """The one span of the finest rows so far that may hold whole ones of the next granularity, cut in three."""
    cut_spans: list[Span] = []
    widest = max(spans, key=lambda span: span.ends_at - span.starts_at)
    for span in spans:
        first = floor(span.starts_at)
        first = first if first == span.starts_at else after(first)
        last = floor(span.ends_at)
        if span != widest or first >= last:
            cut_spans.append(span)
            continue
        cut_spans += [
            Span(span.granularity, span.starts_at, first),
            Span(granularity, first, last),
            Span(span.granularity, last, span.ends_at),
        ]
    return cut_spans


def _day_of(moment: datetime) -> datetime:
    return datetime.combine(moment.astimezone(UTC).date(), time(), UTC)


def _day_after(day: datetime) -> datetime:
    return day + timedelta(days=1)


def _month_of(moment: datetime) -> datetime:
    return datetime.combine(moment.astimezone(UTC).date().replace(day=1), time(), UTC)


def _month_after(month: datetime) -> datetime:
    return datetime.combine(hours.month_after(month.date()), time(), UTC)
