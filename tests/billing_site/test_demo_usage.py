from collections import Counter
from datetime import UTC, datetime
from itertools import chain

from billing_site.demo import usage

NOW = datetime(2026, 1, 15, 12, 30, tzinfo=UTC)


class TestMonthStart:
    def test_counts_back_over_the_year(self) -> None:
        assert usage.month_start(NOW, months_back=0) == datetime(2026, 1, 1, tzinfo=UTC)
        assert usage.month_start(NOW, months_back=2) == datetime(2025, 11, 1, tzinfo=UTC)
        assert usage.month_start(NOW, months_back=13) == datetime(2024, 12, 1, tzinfo=UTC)


class TestEvents:
    def test_are_the_same_each_time(self) -> None:
        assert list(usage.events(now=NOW)) == list(usage.events(now=NOW))

    def test_fill_every_hour_of_the_two_months_before(self) -> None:
        events = list(usage.events(now=NOW))
        assert len(events) == (30 + 31) * 24 * len(usage.HABITS)
        assert {str(event["event_timestamp"])[:7] for event in events} == {"2025-11", "2025-12"}

    def test_have_a_key_once_a_tenant_and_whole_quantities(self) -> None:
        events = list(usage.events(now=NOW))
        keys = Counter((event["tenant_id"], event["idempotency_key"]) for event in events)
        assert set(keys.values()) == {1}
        assert all(type(event["quantity"]) is int and event["quantity"] >= 0 for event in events)


class TestBatches:
    def test_hold_every_event_once(self) -> None:
        batches = list(usage.batches(now=NOW))
        assert max(map(len, batches)) == usage.BATCH_EVENTS
        assert list(chain.from_iterable(batches)) == list(usage.events(now=NOW))
