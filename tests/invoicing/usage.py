"""Usage for billing tests: sent and summarised as it would be."""

import itertools
from datetime import datetime, timedelta
from typing import Any

from metering import aggregation, ingestion, schemas

_keys = itertools.count(1)


def send(tenant_id: str, meter: str, quantity: int, at: datetime, *, now: datetime | None = None, **fields: Any) -> str:
    """
    One event, stored and not summarised yet; learned of a minute later unless ``now`` says otherwise. Its key.
    """
    event = schemas.EventIn(
        tenant_id=tenant_id,
        event_type=meter,
        quantity=quantity,
        idempotency_key=f"event-{next(_keys)}",
        event_timestamp=at,
        **fields,
    )
    report = ingestion.ingest(events=[event], now=now or at + timedelta(minutes=1), allow_backfill=True)
    assert report.accepted == 1, report
    return event.idempotency_key


def use(tenant_id: str, meter: str, quantity: int, at: datetime, *, now: datetime | None = None, **fields: Any) -> str:
    """One event, stored and summarised; its key."""
    key = send(tenant_id, meter, quantity, at, now=now, **fields)
    summarise(now or at + timedelta(minutes=1))
    return key


def summarise(now: datetime) -> None:
    """All usage stored so far."""
    aggregation.aggregate_usage(now=now)
