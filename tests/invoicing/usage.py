"""Usage for billing tests: sent and summarised as it would be."""

import itertools
from datetime import datetime, timedelta

from metering import aggregation, ingestion, schemas

_keys = itertools.count(1)


def send(tenant_id: str, meter: str, quantity: int, at: datetime, *, now: datetime | None = None) -> None:
    """One event, stored and not summarised yet; learned of a minute later unless ``now`` says otherwise."""
    event = schemas.EventIn(
        tenant_id=tenant_id,
        event_type=meter,
        quantity=quantity,
        idempotency_key=f"event-{next(_keys)}",
        event_timestamp=at,
    )
    report = ingestion.ingest(events=[event], now=now or at + timedelta(minutes=1), allow_backfill=True)
    assert report.accepted == 1, report


def use(tenant_id: str, meter: str, quantity: int, at: datetime, *, now: datetime | None = None) -> None:
    """One event, stored and summarised."""
    send(tenant_id, meter, quantity, at, now=now)
    summarise(now or at + timedelta(minutes=1))


def summarise(now: datetime) -> None:
    """All usage stored so far."""
    aggregation.aggregate_usage(now=now)
