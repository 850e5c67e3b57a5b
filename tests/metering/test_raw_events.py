"""Events as they came, newest first, page by page."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from metering import aggregation, raw_events
from tests.factories import metering as factories

if TYPE_CHECKING:
    from uuid import UUID

pytestmark = pytest.mark.django_db
NOW = factories.NOW
event = factories.EventInFactory.build


def page(**options: Any) -> raw_events.RawEventPage:
    defaults: dict[str, Any] = {"tenant_id": "acme-corp", "event_type": None, "timestamp_gte": None, "limit": 100}
    return raw_events.list_raw_events(**{**defaults, "timestamp_lt": None, **options})


def keys(**options: Any) -> list[str]:
    return [one.idempotency_key for one in page(**options).events]


class TestListRawEvents:
    def test_shows_an_event_at_once_and_as_it_came(self) -> None:
        sent = event(properties={"a": [1]}, source="gateway", quantity=9)
        factories.ingest(sent)
        (found,) = page().events
        assert (found.tenant_id, found.event_type, found.quantity) == ("acme-corp", "api_call", 9)
        assert (found.idempotency_key, found.properties, found.source) == (sent.idempotency_key, {"a": [1]}, "gateway")
        assert (found.event_timestamp, found.created_at) == (sent.event_timestamp, NOW)

    @pytest.mark.parametrize("summarised", ["none", "some", "all"])
    @pytest.mark.parametrize("limit", [1, 3, 7, 100])
    def test_pages_through_everything_once(self, summarised: str, limit: int) -> None:
        sent = [
            event(
                idempotency_key=str(n), event_timestamp=NOW - timedelta(minutes=17 * (n % 40)), event_type=f"t{n % 3}"
            )
            for n in range(100)
        ]
        factories.ingest(*sent[:50])
        if summarised != "none":
            aggregation.aggregate_usage(now=NOW)
        factories.ingest(*sent[50:])
        if summarised == "all":
            aggregation.aggregate_usage(now=NOW)
        found: list[raw_events.RawEvent] = []
        before: tuple[datetime, UUID] | None = None
        while True:
            one = page(limit=limit, before=before)
            found += one.events
            if not one.has_more:
                break
            assert len(one.events) == limit
            before = (found[-1].event_timestamp, found[-1].key_hash)
        places = [(one.event_timestamp, one.key_hash) for one in found]
        assert places == sorted(places, reverse=True)
        assert sorted(int(one.idempotency_key) for one in found) == list(range(100))

    def test_keeps_to_time_type_and_tenant(self) -> None:
        edge = NOW - timedelta(hours=3)
        tick = timedelta(microseconds=1)
        factories.ingest(
            event(idempotency_key="before", event_timestamp=edge - tick),
            event(idempotency_key="first", event_timestamp=edge),
            event(idempotency_key="type", event_timestamp=edge, event_type="other"),
            event(idempotency_key="tenant", event_timestamp=edge, tenant_id="other"),
            event(idempotency_key="last", event_timestamp=edge + timedelta(hours=2) - tick),
            event(idempotency_key="after", event_timestamp=edge + timedelta(hours=2)),
        )
        within = {"timestamp_gte": edge, "timestamp_lt": edge + timedelta(hours=2)}
        assert keys(event_type="api_call", **within) == ["last", "first"]
        assert sorted(keys(**within)) == ["first", "last", "type"]
        assert keys(tenant_id="nobody") == []
        aggregation.aggregate_usage(now=NOW)
        assert keys(event_type="api_call", **within) == ["last", "first"]

    @pytest.mark.parametrize("summarised", [False, True])
    def test_shows_a_correction_and_what_it_corrects(self, *, summarised: bool) -> None:
        first = event(event_timestamp=NOW - timedelta(days=2))
        fix = event(corrects=first.idempotency_key, void=True, quantity=0, event_timestamp=NOW - timedelta(days=1))
        factories.ingest(first)
        factories.ingest(fix)
        if summarised:
            aggregation.aggregate_usage(now=NOW)
        found = page().events
        assert [(one.idempotency_key, one.corrects, one.void) for one in found] == [
            (fix.idempotency_key, first.idempotency_key, True),
            (first.idempotency_key, None, False),
        ]

    def test_shows_a_request_that_is_not_billable(self) -> None:
        factories.ingest(event(event_type="api.request", properties={"billable": False}))
        aggregation.aggregate_usage(now=NOW)
        assert len(page().events) == 1

    def test_shows_both_sides_of_a_split_hour(self) -> None:
        hour = NOW.replace(minute=0) - timedelta(hours=3)
        for minute in (10, 40):
            factories.ingest(event(event_timestamp=hour + timedelta(minutes=minute)))
        aggregation.split_hour(tenant_id="acme-corp", at=hour + timedelta(minutes=30), now=NOW)
        aggregation.aggregate_usage(now=NOW)
        assert len(keys()) == 2
