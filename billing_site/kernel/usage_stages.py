"""
Stages of usage that upper floors know: what became of a tenant's usage after it was summarised.

A lower floor that lays the stages side by side asks here; an upper floor registers a reader when its app is ready. With
no reader, nothing was billed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final


@dataclass(frozen=True, kw_only=True)
class BilledMeter:
    """
    One meter on one invoice: ``quantity`` of ``event_count`` events in ``period_start <= t < period_end``.

    ``billed_at`` is when that was fixed, None while it is a draft and may still change. What came after is late. Counts
    are None where they were not kept.
    """

    meter: str
    period_start: datetime
    period_end: datetime
    reference: str
    billed_at: datetime | None
    quantity: Decimal
    event_count: int | None
    late_quantity: Decimal
    late_event_count: int | None


Reader = Callable[[str, datetime, datetime], Iterable[BilledMeter]]
"""Answers what bills a tenant's usage between two moments, in any order."""

_readers: Final[list[Reader]] = []


def register(reader: Reader) -> None:
    """Have a reader asked; the same one is asked once."""
    if reader not in _readers:
        _readers.append(reader)


def list_billed_meters(*, tenant_id: str, period_from: datetime, period_to: datetime) -> Sequence[BilledMeter]:
    """All that bills usage of a tenant between two moments, in order of time."""
    found = [one for reader in _readers for one in reader(tenant_id, period_from, period_to)]
    return sorted(found, key=lambda one: (one.period_start, one.meter, one.reference))
