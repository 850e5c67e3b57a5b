"""The rules that an event must pass, judged without database and clock."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering import hours, rules, schemas
from tests.factories import metering as factories

NOW = factories.NOW
event = factories.EventInFactory.build


def judge(*events: schemas.EventIn, backfill: bool = False, only_tenant_id: str | None = None) -> rules.Judged:
    judged = rules.judge(events, now=NOW, allow_backfill=backfill, only_tenant_id=only_tenant_id)
    judged.settle_later()
    return judged


def codes(judged: rules.Judged) -> list[str]:
    return [refused.code for refused in judged.refused]


def payload_hash(**values: Any) -> int:
    (ready,) = judge(event(idempotency_key="same", **values)).ready.values()
    return ready.payload_hash


class TestJudge:
    @pytest.mark.parametrize(
        ("values", "code"),
        [
            ({"tenant_id": ""}, "invalid_tenant_id"),
            ({"tenant_id": "a b"}, "invalid_tenant_id"),
            ({"tenant_id": "x" * 65}, "invalid_tenant_id"),
            ({"tenant_id": "acme\n"}, "invalid_tenant_id"),
            ({"event_type": ""}, "invalid_event_type"),
            ({"event_type": "Api"}, "invalid_event_type"),
            ({"event_type": "x" * 101}, "invalid_event_type"),
            ({"event_type": "api\n"}, "invalid_event_type"),
            ({"idempotency_key": "a\x00b"}, "invalid_idempotency_key"),
            ({"source": "a\x00b"}, "invalid_source"),
            ({"properties": {"a": "x\x00"}}, "invalid_properties"),
            ({"properties": {"\x00": [1]}}, "invalid_properties"),
            ({"properties": {"a": ["b", {"c": "\x00"}]}}, "invalid_properties"),
            ({"properties": {"a": "x" * 4096}}, "properties_too_large"),
            ({"properties": {"a": "é" * 2048}}, "properties_too_large"),
        ],
    )
    def test_refuses(self, values: dict[str, Any], code: str) -> None:
        judged = judge(event(**values))
        assert codes(judged) == [code]
        assert not judged.ready

    @pytest.mark.parametrize(
        "values",
        [
            {"tenant_id": "x" * 64},
            {"event_type": "x" * 100},
            {"idempotency_key": "\\N\t\r\n\x1f"},
            {"properties": {"a": "x" * (4096 - len('{"a":""}'))}},
            {"properties": {"a": "\\u0000 as text"}},
            {"quantity": 0},
        ],
    )
    def test_lets_pass(self, values: dict[str, Any]) -> None:
        assert codes(judge(event(**values))) == []

    @pytest.mark.parametrize(
        ("ago", "code"),
        [
            (timedelta(days=90), None),
            (timedelta(days=90, microseconds=1), "timestamp_too_old"),
            (timedelta(hours=-1), None),
            (timedelta(hours=-1, microseconds=-1), "timestamp_in_future"),
        ],
    )
    def test_takes_events_of_90_days_and_an_hour_ahead(self, ago: timedelta, code: str | None) -> None:
        assert codes(judge(event(event_timestamp=NOW - ago))) == ([code] if code else [])

    @pytest.mark.parametrize(
        ("moment", "code"),
        [
            (datetime(2000, 1, 1, tzinfo=UTC), None),
            (datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC), "timestamp_too_old"),
            (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23))), "timestamp_too_old"),
            (NOW + timedelta(hours=2), "timestamp_in_future"),
        ],
    )
    def test_takes_a_backfill_back_to_2000(self, moment: datetime, code: str | None) -> None:
        assert codes(judge(event(event_timestamp=moment), backfill=True)) == ([code] if code else [])

    def test_takes_the_time_of_arrival_where_none_was_sent(self) -> None:
        (ready,) = judge(event(event_timestamp=None)).ready.values()
        assert ready.timestamp == NOW.isoformat()
        assert ready.hour == hours.hour_of(NOW)

    def test_refuses_other_tenants_under_a_bound_key(self) -> None:
        judged = judge(event(tenant_id="acme"), event(tenant_id="other"), only_tenant_id="acme")
        assert codes(judged) == ["tenant_forbidden"]
        assert len(judged.ready) == 1

    def test_settles_keys_that_come_twice_in_a_batch(self) -> None:
        judged = judge(
            event(idempotency_key="k", quantity=1),
            event(idempotency_key="k", quantity=1),
            event(idempotency_key="k", quantity=2),
            event(idempotency_key="k", quantity=1, tenant_id="other"),
        )
        assert len(judged.ready) == 2
        assert judged.duplicates == 1
        assert codes(judged) == ["idempotency_conflict"]

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=30))
    def test_accounts_for_every_event(self, sent: list[tuple[str, int]]) -> None:
        judged = judge(*(event(idempotency_key=key, quantity=quantity) for key, quantity in sent))
        assert len(judged.ready) + judged.duplicates + len(judged.refused) == len(sent)
        assert len(judged.ready) == len({key for key, _ in sent})


class TestPayloadHash:
    def test_is_the_same_for_the_same_moment_in_another_zone(self) -> None:
        moment = datetime(2026, 11, 20, 10, tzinfo=UTC)
        elsewhere = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
        assert payload_hash(event_timestamp=moment) == payload_hash(event_timestamp=elsewhere)

    def test_is_the_same_for_properties_in_another_order(self) -> None:
        one = {"a": 1, "b": {"c": 1, "d": 2}}
        other = {"b": {"d": 2, "c": 1}, "a": 1}
        assert payload_hash(properties=one) == payload_hash(properties=other)

    def test_is_the_same_for_a_retry_without_time_that_arrives_later(self) -> None:
        sent = event(idempotency_key="k", event_timestamp=None)
        first = rules.judge([sent], now=NOW, allow_backfill=False, only_tenant_id=None)
        later = rules.judge([sent], now=NOW + timedelta(days=2), allow_backfill=False, only_tenant_id=None)
        hashes = {ready.payload_hash for judged in (first, later) for ready in judged.ready.values()}
        assert len(hashes) == 1

    @pytest.mark.parametrize(
        "values",
        [
            {"quantity": 2},
            {"event_type": "other"},
            {"properties": {"a": 1}},
            {"event_timestamp": None},
            {"event_timestamp": datetime(2026, 11, 20, 12, 15, 0, 1, tzinfo=UTC)},
        ],
    )
    def test_differs_with_each_thing_that_was_sent(self, values: dict[str, Any]) -> None:
        assert payload_hash(**values) != payload_hash()

    def test_leaves_the_source_out(self) -> None:
        assert payload_hash(source="retry") == payload_hash()


class TestHashKey:
    def test_keeps_tenant_and_key_apart(self) -> None:
        assert rules.hash_key(tenant_id="a", idempotency_key="bc") != rules.hash_key(
            tenant_id="ab", idempotency_key="c"
        )
        assert rules.hash_key(tenant_id="1", idempotency_key="1:x") != rules.hash_key(
            tenant_id="11", idempotency_key=":x"
        )

    @given(st.lists(st.tuples(st.text("ab1:", min_size=1), st.text("ab1:", min_size=1)), max_size=20, unique=True))
    def test_gives_each_pair_its_own(self, pairs: list[tuple[str, str]]) -> None:
        assert len({rules.hash_key(tenant_id=t, idempotency_key=k) for t, k in pairs}) == len(pairs)
