"""
Invented usage: the same events, with the same keys, however often they are made.

Two finished calendar months of three tenants, an event for each hour and meter, more by day than by night.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

MONTHS = 2
BATCH_EVENTS = 1000
OFFICE_HOURS = range(8, 19)


@dataclass(frozen=True, kw_only=True)
class Habit:
    """How much of a meter a tenant uses in an hour, at most."""

    tenant_id: str
    event_type: str
    hourly_quantity: int


HABITS = (
    Habit(tenant_id="acme-corp", event_type="api_call", hourly_quantity=12_000),
    Habit(tenant_id="acme-corp", event_type="storage_gb_hour", hourly_quantity=900),
    Habit(tenant_id="globex", event_type="api_call", hourly_quantity=3_000),
    Habit(tenant_id="globex", event_type="storage_gb_hour", hourly_quantity=250),
    Habit(tenant_id="initech", event_type="api_call", hourly_quantity=600),
    Habit(tenant_id="initech", event_type="storage_gb_hour", hourly_quantity=40),
)

Event = dict[str, object]


def month_start(moment: datetime, *, months_back: int) -> datetime:
    """The first moment, in UTC, of the calendar month so many months before."""
    count = moment.year * 12 + moment.month - 1 - months_back
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)


def events(*, now: datetime) -> Iterator[Event]:
    """Every event of the two calendar months before the current one, in the form of ``POST /v1/events``."""
    end = month_start(now, months_back=0)
    for habit in HABITS:
        hour = month_start(now, months_back=MONTHS)
        while hour < end:
            yield _event(habit, hour)
            hour += timedelta(hours=1)


def batches(*, now: datetime) -> Iterator[Sequence[Event]]:
    """The events in batches."""
    remaining = events(now=now)
    while batch := list(islice(remaining, BATCH_EVENTS)):
        yield batch


def _event(habit: Habit, hour: datetime) -> Event:
    name = f"{habit.event_type}:{hour:%Y-%m-%dT%H}"
    # Seeded by the event's own name, so that each is the same in any order and any process.
    chance = random.Random(f"{habit.tenant_id}:{name}")  # noqa: S311  (invented usage, not a secret)
    most = habit.hourly_quantity if hour.hour in OFFICE_HOURS else habit.hourly_quantity // 5
    return {
        "tenant_id": habit.tenant_id,
        "event_type": habit.event_type,
        "quantity": chance.randrange(most // 2, most),
        "idempotency_key": name,
        "event_timestamp": (hour + timedelta(seconds=chance.randrange(3600))).isoformat().replace("+00:00", "Z"),
        "source": "demo",
        "properties": {"region": chance.choice(("eu-west-1", "us-east-1"))},
    }
