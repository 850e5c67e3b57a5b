"""Factories of metering's rows; events themselves go through ``ingest``, since no other way in exists."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import factory
import msgspec

from billing_site.kernel import ids
from metering import hours, ingestion, meters, models, schemas

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


class EventInFactory(factory.Factory[schemas.EventIn]):
    """An event as sent; each has a key of its own."""

    class Meta:
        model = schemas.EventIn

    tenant_id = "acme-corp"
    event_type = "api_call"
    idempotency_key = factory.LazyFunction(lambda: uuid4().hex)
    quantity = 1
    event_timestamp = datetime(2026, 11, 20, 12, 15, tzinfo=UTC)


class SeriesFactory(factory.django.DjangoModelFactory[models.Series]):
    """A tenant's events of one type."""

    class Meta:
        model = models.Series

    tenant_id = "acme-corp"
    event_type = factory.Sequence(lambda n: f"type_{n}")
    created_at = NOW


class UsageSummaryFactory(factory.django.DjangoModelFactory[models.UsageSummary]):
    """An hour of usage that was summed."""

    class Meta:
        model = models.UsageSummary

    tenant_id = "acme-corp"
    meter = "api_call"
    granularity = models.Granularity.HOUR
    period_start = datetime(2026, 11, 20, 12, tzinfo=UTC)
    total = 10
    event_count = 2
    maximum = 7
    computed_at = NOW


class DeadLetterFactory(factory.django.DjangoModelFactory[models.DeadLetter]):
    """An event that was not taken."""

    class Meta:
        model = models.DeadLetter

    id = factory.LazyFunction(lambda: ids.new_id("dl"))
    tenant_id = "acme-corp"
    payload_digest = factory.LazyFunction(uuid4)
    payload = '{"tenant_id": "acme-corp", "quantity": -1}'
    code = "negative_quantity"
    detail = "quantity: Expected int >= 0"
    source = "api"
    event_hour = factory.LazyAttribute(lambda letter: hours.hour_of(letter.first_seen_at))
    opening_id = factory.SelfAttribute("id")
    first_seen_at = NOW
    last_seen_at = NOW


class UsageThresholdFactory(factory.django.DjangoModelFactory[models.UsageThreshold]):
    """A quantity a month that someone wants to hear of."""

    class Meta:
        model = models.UsageThreshold

    tenant_id = "acme-corp"
    meter = "api_call"
    event_type = factory.SelfAttribute("meter")
    quantity = 1_000
    period = models.Granularity.MONTH
    action = models.ThresholdAction.ALERT
    created_at = NOW


class UsageAnomalyFactory(factory.django.DjangoModelFactory[models.UsageAnomaly]):
    """A day that stood out."""

    class Meta:
        model = models.UsageAnomaly

    tenant_id = "acme-corp"
    event_type = "api_call"
    day = date(2026, 11, 19)
    kind = models.AnomalyKind.DAY_TOTAL
    window_start = datetime(2026, 11, 19, tzinfo=UTC)
    window_end = datetime(2026, 11, 20, tzinfo=UTC)
    observed_quantity = 500
    expected_quantity = 100
    deviation = Decimal("8.304548")
    z_score = Decimal("48.1664")
    history_days = 30
    detected_at = datetime(2026, 11, 20, 2, 40, tzinfo=UTC)


def ingest(*events: schemas.EventIn | schemas.Refusal, now: datetime = NOW, **options: Any) -> ingestion.IngestReport:
    """Take these events in."""
    return ingestion.ingest(events=events, now=now, **options)


def ingest_many(count: int, *, now: datetime = NOW, **values: Any) -> Sequence[schemas.EventIn]:
    """Take in ``count`` events with these values; the events."""
    events: list[schemas.EventIn] = EventInFactory.build_batch(count, **values)
    report = ingestion.ingest(events=events, now=now)
    assert report.accepted == count, report
    return events


def make_meter(
    code: str,
    *,
    event_type: str = "api_call",
    aggregation: str = "sum",
    property: str = "",  # noqa: A002  (as the API calls it)
    filters: Mapping[str, Sequence[str]] | None = None,
    group_by: Sequence[str] = (),
    now: datetime = NOW,
) -> models.Meter:
    """Make a meter, as the API does."""
    return meters.create_meter(
        code=code,
        event_type=event_type,
        aggregation_kind=models.Aggregation(aggregation),
        property_name=property,
        filters=filters or {},
        group_by=group_by,
        now=now,
    )


def with_tenant(event: schemas.EventIn, tenant_id: str) -> schemas.EventIn:
    """The same event of another tenant."""
    return msgspec.structs.replace(event, tenant_id=tenant_id)
