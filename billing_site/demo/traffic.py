"""
What the demo sends beside the usage that is billed, so that every screen of metering has something to show: gateway
requests of the last days, a meter of finance's own, a quota, events that are refused, corrected, or too late.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from billing_site.demo import client, usage

DAYS = 3
BATCH_RECORDS = 1000
ENDPOINTS = ("/v1/search", "/v1/search", "/v1/search", "/v1/documents", "/v1/documents", "/v1/exports")
METER = {
    "code": "api_call_by_region",
    "event_type": "api_call",
    "aggregation": "sum",
    "filters": {},
    "group_by": ["region"],
}
QUOTA = {"tenant_id": "acme-corp", "meter": "api.request", "quantity": 500, "period": "month", "action": "alert"}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """How many requests a tenant makes in an hour, and which share of them fails."""

    tenant_id: str
    hourly_requests: int
    failing_per_mille: int


CALLERS = (
    Caller(tenant_id="acme-corp", hourly_requests=14, failing_per_mille=30),
    Caller(tenant_id="globex", hourly_requests=5, failing_per_mille=120),
)


def send(api: client.Client, *, now: datetime) -> client.Json:
    """
    All of it; how many requests and refused events there were.

    Idempotency: records, events and refusals are the same each time, and so are counted once.
    """
    sent = 0
    for batch in _batches(now):
        sent += len(batch)
        api.post("/v1/events/requests", {"events": batch})
    for path, body, already in (
        ("/v1/meters", METER, "meter_exists"),
        ("/v1/usage-thresholds", QUOTA, "usage_threshold_exists"),
    ):
        try:
            api.post(path, body)
        except client.Refused as refusal:
            # Somebody has played with it since; theirs stands.
            if refusal.code != already:
                raise
    refused = api.post("/v1/events", {"events": list(_refused(now))})
    api.post("/v1/events", {"events": list(_corrected(now))})
    return {"requests_sent": sent, "events_refused": refused["rejected"]}


def late_event(*, tenant_id: str, now: datetime) -> usage.Event:
    """Usage of the oldest month that its tenant's gateway found only now, after the invoice."""
    happened_at = usage.month_start(now, months_back=usage.MONTHS) + timedelta(days=9, hours=13)
    return {
        "tenant_id": tenant_id,
        "event_type": "api_call",
        "quantity": 2_500,
        "idempotency_key": "found-late",
        "event_timestamp": _written(happened_at),
        "source": "demo",
        "properties": {"region": "eu-west-1"},
    }


def _batches(now: datetime) -> Iterator[Sequence[usage.Event]]:
    remaining = _requests(now)
    while batch := list(islice(remaining, BATCH_RECORDS)):
        yield batch


def _requests(now: datetime) -> Iterator[usage.Event]:
    """Gateway records of the whole hours of the last days."""
    end = now.replace(minute=0, second=0, microsecond=0)
    for caller in CALLERS:
        for back in range(DAYS * 24, 0, -1):
            hour = end - timedelta(hours=back)
            for number in range(caller.hourly_requests):
                yield _request(caller, hour, number)


def _request(caller: Caller, hour: datetime, number: int) -> usage.Event:
    name = f"{hour:%Y-%m-%dT%H}:{number}"
    # Seeded by the record's own name, so that each is the same in any order and any process.
    chance = random.Random(f"{caller.tenant_id}:{name}")  # noqa: S311  (invented usage, not a secret)
    failed = chance.randrange(1000) < caller.failing_per_mille
    return {
        "request_id": name,
        "organization_id": caller.tenant_id,
        "api_key_id": f"key-{chance.randrange(3)}",
        "endpoint": chance.choice(ENDPOINTS),
        "method": "POST",
        "status_code": chance.choice((400, 404, 429, 500, 503)) if failed else 200,
        "response_time_ms": chance.randrange(8, 240),
        "billable": not failed,
        "time": _written(hour + timedelta(seconds=chance.randrange(3600))),
    }


def _refused(now: datetime) -> Iterator[usage.Event]:
    """Events with a fault each; they are kept as dead letters."""
    day = _written(now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1))
    event = {"tenant_id": "acme-corp", "event_type": "api_call", "event_timestamp": day, "source": "demo"}
    yield {**event, "idempotency_key": "refused-1", "quantity": -40}
    yield {**event, "idempotency_key": "refused-2", "quantity": 40, "qty": 40}
    yield {**event, "idempotency_key": "refused-3", "quantity": "forty"}


def _corrected(now: datetime) -> Iterator[usage.Event]:
    """An import that was wrong by a factor of ten, and the event that puts it right."""
    event = {"tenant_id": "globex", "event_type": "api_call", "source": "demo", "properties": {"region": "us-east-1"}}
    happened_at = _written(usage.month_start(now, months_back=0))
    yield {**event, "event_timestamp": happened_at, "idempotency_key": "import-1", "quantity": 12_000}
    yield {**event, "idempotency_key": "import-1-corrected", "quantity": 1_200, "corrects": "import-1"}


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
