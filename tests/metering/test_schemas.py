"""What an event looks like on the wire, and what is said of one that is wrong."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering import errors, schemas

GOOD: Mapping[str, Any] = {"tenant_id": "acme", "event_type": "api_call", "idempotency_key": "k1"}


def body(*events: object, **beside: object) -> bytes:
    return json.dumps({"events": events, **beside}).encode()


class TestDecodeBatch:
    def test_takes_one_event(self) -> None:
        batch = schemas.decode_batch(json.dumps(GOOD).encode())
        assert batch.events == [schemas.EventIn(tenant_id="acme", event_type="api_call", idempotency_key="k1")]
        assert not batch.backfill

    def test_takes_many_and_the_backfill_flag(self) -> None:
        batch = schemas.decode_batch(body(GOOD, GOOD, backfill=True))
        assert len(batch.events) == 2
        assert batch.backfill

    @pytest.mark.parametrize(("sent", "quantity"), [({}, 1), ({"void": True}, 0), ({"void": True, "quantity": 1}, 1)])
    def test_takes_one_for_a_quantity_that_was_not_sent_and_none_with_void(
        self, sent: dict[str, Any], quantity: int
    ) -> None:
        (event,) = schemas.decode_batch(body({**GOOD, "corrects": "k0", **sent})).events
        assert isinstance(event, schemas.EventIn)
        assert (event.quantity, event.corrects, event.void) == (quantity, "k0", bool(sent.get("void")))

    @pytest.mark.parametrize("name", ["", "x" * 256])
    def test_refuses_a_correction_of_what_can_be_no_key(self, name: str) -> None:
        (event,) = schemas.decode_batch(body({**GOOD, "corrects": name})).events
        assert isinstance(event, schemas.Refusal)
        assert event.code == "invalid_correction"

    def test_keeps_each_text_as_it_was_sent(self) -> None:
        raw = b'{"events": [{"tenant_id": "a" },\n {"quantity":  -1}]}'
        assert schemas.decode_batch(raw).payload_of(1) == b'{"quantity":  -1}'
        good = json.dumps(GOOD).encode()
        assert schemas.decode_batch(b'{"events":[' + good + b" ]}").payload_of(0) == good

    @pytest.mark.parametrize("position", [0, 500, 999])
    def test_tells_one_bad_event_from_its_neighbours(self, position: int) -> None:
        events: list[dict[str, Any]] = [dict(GOOD) for _ in range(1000)]
        events[position]["quantity"] = -1
        decoded = schemas.decode_batch(body(*events)).events
        refused = [place for place, event in enumerate(decoded) if isinstance(event, schemas.Refusal)]
        assert refused == [position]

    @pytest.mark.parametrize("raw", [b"", b"  \n", b"{}", b'{"events": []}'])
    def test_refuses_an_empty_body(self, raw: bytes) -> None:
        with pytest.raises(errors.EmptyBatch):
            schemas.decode_batch(raw)

    @pytest.mark.parametrize("raw", [b"[]", b"5", b"null", b'"text"', b'{"events": {}}', b'{"events": null}'])
    def test_refuses_what_is_neither_event_nor_batch(self, raw: bytes) -> None:
        with pytest.raises(errors.InvalidBatch):
            schemas.decode_batch(raw)

    @pytest.mark.parametrize("raw", [b"{", b"\x00", b"\xff", b'{"events": [1,]}', b'{"events": [NaN]}', b"{} {}"])
    def test_refuses_what_is_not_json(self, raw: bytes) -> None:
        with pytest.raises(errors.InvalidJson):
            schemas.decode_batch(raw)

    def test_refuses_a_body_nested_without_end(self) -> None:
        with pytest.raises(errors.InvalidJson):
            schemas.decode_batch(b'{"events":' + b"[" * 100_000 + b"]" * 100_000 + b"}")

    @pytest.mark.parametrize("bad", [{}, {"quantity": -1}])
    def test_refuses_more_events_than_a_batch_has(self, bad: dict[str, Any]) -> None:
        with pytest.raises(errors.TooManyEvents):
            schemas.decode_batch(body(*[GOOD] * 10_000, {**GOOD, **bad}))

    def test_points_at_what_does_not_belong_beside_events(self) -> None:
        with pytest.raises(errors.InvalidBatch) as raised:
            schemas.decode_batch(body(GOOD, tenant_id="acme"))
        assert [error.pointer for error in raised.value.errors] == ["/tenant_id"]

    def test_points_at_a_flag_that_is_no_flag(self) -> None:
        with pytest.raises(errors.InvalidBatch) as raised:
            schemas.decode_batch(body(GOOD, backfill="yes"))
        assert [error.pointer for error in raised.value.errors] == ["/backfill"]

    @given(st.binary(max_size=200))
    def test_answers_any_bytes_with_a_batch_or_a_refusal(self, raw: bytes) -> None:
        try:
            batch = schemas.decode_batch(raw)
        except (errors.InvalidJson, errors.InvalidBatch, errors.EmptyBatch):
            return
        assert batch.events

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*GOOD, "events", "x"]), inner),
            max_leaves=20,
        ),
    )
    def test_answers_any_json_with_a_batch_or_a_refusal(self, value: object) -> None:
        try:
            batch = schemas.decode_batch(json.dumps(value).encode())
        except (errors.InvalidJson, errors.InvalidBatch, errors.EmptyBatch):
            return
        assert all(batch.payload_of(place) for place in range(len(batch.events)))


class TestDecodeEvent:
    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"tenant_id": None}, "wrong_type"),
            ({"tenant_id": 5}, "wrong_type"),
            ({"event_type": ["x"]}, "wrong_type"),
            ({"quantity": "1"}, "wrong_type"),
            ({"quantity": 1.0}, "wrong_type"),
            ({"quantity": True}, "wrong_type"),
            ({"quantity": None}, "wrong_type"),
            ({"quantity": -1}, "negative_quantity"),
            ({"quantity": 10**15 + 1}, "quantity_too_large"),
            ({"quantity": 10**40}, "quantity_too_large"),
            ({"idempotency_key": ""}, "invalid_idempotency_key"),
            ({"idempotency_key": "x" * 256}, "invalid_idempotency_key"),
            ({"event_timestamp": "yesterday"}, "invalid_timestamp"),
            ({"event_timestamp": "2026-11-01T00:00:00"}, "invalid_timestamp"),
            ({"event_timestamp": "2026-02-30T00:00:00Z"}, "invalid_timestamp"),
            ({"event_timestamp": 1_700_000_000}, "wrong_type"),
            ({"source": "x" * 101}, "invalid_source"),
            ({"properties": []}, "wrong_type"),
            ({"properties": None}, "wrong_type"),
            ({"Tenant_id": "acme"}, "unknown_field"),
            ({"backfill": True}, "unknown_field"),
        ],
    )
    def test_names_what_is_wrong(self, change: dict[str, Any], code: str) -> None:
        decoded = schemas.decode_event(json.dumps({**GOOD, **change}).encode())
        assert isinstance(decoded, schemas.Refusal)
        assert decoded.code == code
        assert next(iter(change)) in decoded.detail

    @pytest.mark.parametrize("field", list(GOOD))
    def test_names_what_is_missing(self, field: str) -> None:
        decoded = schemas.decode_event(json.dumps({k: v for k, v in GOOD.items() if k != field}).encode())
        assert isinstance(decoded, schemas.Refusal)
        assert decoded.code == "missing_field"
        assert field in decoded.detail

    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            (b"5", "wrong_type"),
            (b'{"tenant_id":"\xff"}', "invalid_text"),
            (b"{", "invalid_json"),
            (b'{"properties":{"a":' + b"[" * 3000 + b"]" * 3000 + b"}}", "invalid_properties"),
            (b'{"properties":{"a":1e999}}', "invalid_properties"),
        ],
    )
    def test_survives_what_cannot_be_read(self, raw: bytes, code: str) -> None:
        decoded = schemas.decode_event(raw)
        assert isinstance(decoded, schemas.Refusal)
        assert decoded.code == code
        assert decoded.payload == raw

    def test_takes_every_field(self) -> None:
        everything = {
            **GOOD,
            "quantity": 10**15,
            "event_timestamp": "2026-11-01T05:30:00.123456+05:30",
            "source": "gateway",
            "properties": {"region": "eu", "n": [1, {"deep": None}]},
        }
        event = schemas.decode_event(json.dumps(everything).encode())
        assert isinstance(event, schemas.EventIn)
        assert event.event_timestamp is not None
        assert event.event_timestamp.isoformat() == "2026-11-01T05:30:00.123456+05:30"
        assert event.properties == everything["properties"]

    @pytest.mark.parametrize(
        ("raw", "tenant_id"),
        [(b'{"tenant_id":"acme"}', "acme"), (b'{"tenant_id":5}', ""), (b'{"tenant_id":"a b"}', ""), (b"[]", "")],
    )
    def test_guesses_whose_a_bad_event_is(self, raw: bytes, tenant_id: str) -> None:
        decoded = schemas.decode_event(raw)
        assert isinstance(decoded, schemas.Refusal)
        assert decoded.tenant_id == tenant_id


class TestConvertEvent:
    def test_reads_a_time_as_the_wire_does(self) -> None:
        members = {**GOOD, "event_timestamp": "2023-11-16 18:17:03.9799600+00:00"}
        assert schemas.convert_event(members) == schemas.decode_event(json.dumps(members).encode())

    def test_refuses_text_that_is_no_unicode(self) -> None:
        decoded = schemas.convert_event({**GOOD, "idempotency_key": "caf\udce9"})
        assert isinstance(decoded, schemas.Refusal)
        assert decoded.code == "invalid_text"
        assert decoded.tenant_id == ""
        assert b"\\udce9" in decoded.payload
