"""What the door holds events to beyond their own rules, copied into the process for 30 s: quotas that are used up."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from billing_site.kernel import clock, copies
from metering import thresholds


@dataclass(frozen=True, kw_only=True)
class _Quotas:
    """The pairs of tenant and event type that are refused, and when that was so."""

    hour: datetime
    refused_pairs: Mapping[tuple[str, str], str]


def refused_pairs(*, now: datetime) -> Mapping[tuple[str, str], str]:
    """
    ``thresholds.refused_pairs`` from a copy of at most 30 s, or 10 minutes while the database is slow (``copies``).

    Quotas end with an hour, a day or a month, so a copy from another hour is refreshed first.
    """
    hour = _hour_of(now)
    quotas = _copies.get(None, is_current=lambda copy: copy.hour == hour)
    return quotas.refused_pairs if quotas else {}


def _hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _load(keys: Collection[None]) -> dict[None, _Quotas]:
    now = clock.now()
    return {None: _Quotas(hour=_hour_of(now), refused_pairs=thresholds.refused_pairs(now=now))}


_copies: Final = copies.Copies("quotas", _load)
