"""CloudEvents in their three modes: what they become, what is refused, and that they are the same events as ours."""

import base64
import contextlib
import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering import cloud_events, errors, models, replays, schemas
from tests.factories import kernel as kernel_factories

client = kernel_factories.client

GOOD: Mapping[str, Any] = {
    "specversion": "1.0",
    "id": "7",
    "source": "/meter/a",
    "type": "api_call",
    "subject": "acme",
    "data": {"quantity": 3, "region": "eu"},
}
HEADERS: Mapping[str, Any] = {
    "HTTP_CE_SPECVERSION": "1.0",
    "HTTP_CE_ID": "7",
    "HTTP_CE_SOURCE": "/meter/a",
    "HTTP_CE_TYPE": "api_call",
    "HTTP_CE_SUBJECT": "acme",
}


def decode(**changes: Any) -> schemas.EventIn | schemas.Refusal:
    return cloud_events.decode_event(json.dumps({**GOOD, **changes}).encode())


def event(**changes: Any) -> schemas.EventIn:
    decoded = decode(**changes)
    assert isinstance(decoded, schemas.EventIn), decoded
    return decoded


class TestDecodeEvent:
    def test_maps_each_attribute(self) -> None:
        assert event(time="2026-11-20T12:00:00+05:30", datacontenttype="application/json; charset=utf-8") == (
            schemas.decode_event(
                json.dumps(
                    {
                        "tenant_id": "acme",
                        "event_type": "api_call",
                        "idempotency_key": "/meter/a 7",
                        "quantity": 3,
                        "event_timestamp": "2026-11-20T06:30:00Z",
                        "source": "/meter/a",
                        "properties": {"region": "eu"},
                    },
                ).encode(),
            )
        )

    @pytest.mark.parametrize("changes", [{"data": None}, {"data": {}}, {"data": {"region": "eu"}}])
    def test_counts_one_without_a_quantity(self, changes: dict[str, Any]) -> None:
        assert event(**changes).quantity == 1

    def test_takes_extensions_that_it_does_not_know(self) -> None:
        assert event(traceparent="00-1", dataschema="urn:x", sequence=5) == event()

    def test_takes_corrections_as_extensions(self) -> None:
        voided = event(corrects="/meter/a 6", void=True, data=None)
        assert (voided.corrects, voided.void, voided.quantity) == ("/meter/a 6", True, 0)

    def test_takes_json_in_base64(self) -> None:
        sent = base64.b64encode(b'{"quantity": 4, "region": "us"}').decode()
        decoded = event(data=None, data_base64=sent)
        assert (decoded.quantity, decoded.properties) == (4, {"region": "us"})

    def test_keeps_long_sources_apart_by_their_whole_names(self) -> None:
        one, other = (event(source=f"/{'x' * 150}{end}") for end in "ab")
        assert one.idempotency_key != other.idempotency_key
        assert one.source == other.source == f"/{'x' * 99}"

    @given(
        st.tuples(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8)),
        st.tuples(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8)),
    )
    def test_gives_each_source_and_id_a_key_of_its_own(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        decoded = [decode(source=source, id=name) for source, name in (one, other)]
        keys = [each.idempotency_key for each in decoded if isinstance(each, schemas.EventIn)]
        if len(keys) == 2 and one != other:
            assert keys[0] != keys[1]

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"specversion": "0.3"}, "unsupported_specversion"),
            ({"specversion": None}, "unsupported_specversion"),
            ({"id": ""}, "invalid_idempotency_key"),
            ({"id": "x" * 255}, "invalid_idempotency_key"),
            ({"source": ""}, "invalid_source"),
            ({"source": "a b"}, "invalid_source"),
            ({"time": "yesterday"}, "invalid_timestamp"),
            ({"time": "2026-11-20T12:00:00"}, "invalid_timestamp"),
            ({"subject": 5}, "wrong_type"),
            ({"data": [1]}, "wrong_type"),
            ({"data": {"quantity": "3"}}, "wrong_type"),
            ({"data": {"quantity": 3.5}}, "wrong_type"),
            ({"data": {"quantity": True}}, "wrong_type"),
            ({"data": {"quantity": None}}, "wrong_type"),
            ({"data": {"quantity": -1}}, "negative_quantity"),
            ({"data": {"quantity": 10**15 + 1}}, "quantity_too_large"),
            ({"data": {"quantity": 10**30}}, "quantity_too_large"),
            ({"datacontenttype": "text/xml"}, "invalid_properties"),
            ({"data_base64": "e30="}, "invalid_properties"),
            ({"data": None, "data_base64": "!"}, "invalid_properties"),
            ({"data": None, "data_base64": "WzFd"}, "invalid_properties"),
            ({"corrects": ""}, "invalid_correction"),
        ],
    )
    def test_refuses_what_breaks_a_rule(self, changes: dict[str, Any], code: str) -> None:
        decoded = decode(**changes)
        assert isinstance(decoded, schemas.Refusal)
        assert decoded.code == code
        assert decoded.tenant_id == ("" if changes.get("subject") else "acme")

    @pytest.mark.parametrize("missing", ["specversion", "id", "source", "type", "subject"])
    def test_needs_each_required_attribute(self, missing: str) -> None:
        decoded = cloud_events.decode_event(json.dumps({k: v for k, v in GOOD.items() if k != missing}).encode())
        assert isinstance(decoded, schemas.Refusal)
        assert decoded.code == "missing_field"

    @given(st.binary(max_size=200))
    def test_answers_any_bytes(self, raw: bytes) -> None:
        assert isinstance(cloud_events.decode_event(raw), schemas.Refusal)


class TestDecodeBatch:
    def test_keeps_order_and_texts(self) -> None:
        raw = b"[ %b ,\n%b]" % (json.dumps(GOOD).encode(), json.dumps({**GOOD, "id": "8"}).encode())
        batch = cloud_events.decode_batch(raw)
        assert [e.idempotency_key for e in batch.events if isinstance(e, schemas.EventIn)] == [
            "/meter/a 7",
            "/meter/a 8",
        ]
        assert json.loads(batch.payload_of(1))["id"] == "8"

    @pytest.mark.parametrize(
        "bad", [{"data": {"quantity": -1}}, {"id": "\ud800"}, {"source": "a b"}, {"subject": None}]
    )
    def test_tells_one_bad_event_from_its_neighbours(self, bad: dict[str, Any]) -> None:
        raw = json.dumps([GOOD, {**GOOD, **bad}, GOOD]).encode()
        batch = cloud_events.decode_batch(raw)
        assert [isinstance(each, schemas.Refusal) for each in batch.events] == [False, True, False]
        assert json.loads(batch.payload_of(1)) == {**GOOD, **bad}

    @pytest.mark.parametrize(
        ("raw", "error"),
        [
            (b"", errors.EmptyBatch),
            (b"[]", errors.EmptyBatch),
            (b"{}", errors.InvalidBatch),
            (b"5", errors.InvalidBatch),
            (b"[", errors.InvalidJson),
            (b"[" * 100_000, errors.InvalidJson),
            (json.dumps([GOOD] * 10_001).encode(), errors.TooManyEvents),
            (json.dumps([GOOD] * 10_000 + [{}]).encode(), errors.TooManyEvents),
        ],
    )
    def test_refuses_what_is_no_batch(self, raw: bytes, error: type[Exception]) -> None:
        with pytest.raises(error):
            cloud_events.decode_batch(raw)

    @given(st.binary(max_size=200))
    def test_answers_any_bytes_with_a_batch_or_a_refusal(self, raw: bytes) -> None:
        for read in (cloud_events.decode_batch, cloud_events.decode_structured):
            with contextlib.suppress(errors.InvalidJson, errors.InvalidBatch, errors.EmptyBatch):
                assert read(raw).events


@pytest.mark.django_db
class TestOverHttp:
    def post(self, raw: Any, content_type: str, **headers: Any) -> Any:
        sent = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
        return client("events:write").post("/v1/events", sent, content_type=content_type, **headers)

    def test_takes_the_structured_mode(self) -> None:
        response = self.post(GOOD, "application/cloudevents+json; charset=UTF-8")
        assert response.json() == {"accepted": 1, "duplicates": 0, "rejected": 0, "errors": []}
        stored = models.Event.objects.get()
        assert (stored.idempotency_key, stored.quantity, stored.properties) == ("/meter/a 7", 3, {"region": "eu"})

    def test_takes_a_batch_also_compressed(self) -> None:
        raw = gzip.compress(json.dumps([GOOD, {**GOOD, "id": "8"}, {**GOOD, "id": ""}]).encode())
        response = self.post(raw, "application/cloudevents-batch+json", HTTP_CONTENT_ENCODING="gzip").json()
        assert (response["accepted"], response["rejected"]) == (2, 1)
        assert response["errors"][0]["index"] == 2

    def test_takes_the_binary_mode(self) -> None:
        response = self.post(GOOD["data"], "application/json", **HEADERS, HTTP_CE_TIME="2026-11-20T12:00:00Z")
        assert response.json()["accepted"] + response.json()["rejected"] == 1, response.content
        assert self.post(GOOD["data"], "application/json", **{**HEADERS, "HTTP_CE_ID": "8"}).json()["accepted"] == 1
        assert models.Event.objects.get(idempotency_key="/meter/a 8").quantity == 3

    def test_takes_the_binary_mode_without_data(self) -> None:
        made = client("events:write").post("/v1/events", **HEADERS)
        assert made.json()["accepted"] == 1, made.content
        assert models.Event.objects.get().quantity == 1

    def test_takes_percent_encoded_headers(self) -> None:
        self.post({}, "application/json", **{**HEADERS, "HTTP_CE_ID": "caf%C3%A9%20%E2%82%AC"})
        assert models.Event.objects.get().idempotency_key == "/meter/a caf\xe9 \u20ac"

    def test_knows_an_event_again_in_every_form(self) -> None:
        native = {
            "tenant_id": "acme",
            "event_type": "api_call",
            "idempotency_key": "/meter/a 7",
            "quantity": 3,
            "properties": {"region": "eu"},
        }
        verdicts = [
            self.post(GOOD, "application/cloudevents+json").json(),
            self.post([GOOD, GOOD], "application/cloudevents-batch+json").json(),
            self.post(GOOD["data"], "application/json", **HEADERS).json(),
            self.post(native, "application/json").json(),
        ]
        assert [(each["accepted"], each["duplicates"]) for each in verdicts] == [(1, 0), (0, 2), (0, 1), (0, 1)]

    def test_keeps_what_it_refuses_so_that_it_can_be_replayed(self) -> None:
        bad = self.post({"quantity": -1}, "application/json", **HEADERS).json()["errors"][0]
        letter = models.DeadLetter.objects.get(pk=bad["dead_letter_id"])
        assert letter.tenant_id == "acme"
        mended = letter.payload.replace("-1", "1").encode()
        read = replays.read_event(mended)
        assert isinstance(read, schemas.EventIn)
        assert (read.idempotency_key, read.quantity) == ("/meter/a 7", 1)

    @pytest.mark.parametrize(
        ("raw", "content_type", "headers", "status", "code"),
        [
            (b"<a/>", "text/xml", HEADERS, 415, "unsupported_media_type"),
            (b"<a/>", "application/json", HEADERS, 400, "invalid_json"),
            (b'1}, "id": "x"', "application/json", HEADERS, 400, "invalid_json"),
            (b"{}", "application/cloudevents+json", {}, 400, "empty_batch"),
            (b"[]", "application/cloudevents+json", {}, 400, "invalid_batch"),
            (b"{}", "application/cloudevents-batch+json", {}, 400, "invalid_batch"),
            (b"{}", "application/cloudevents+xml", {}, 415, "unsupported_media_type"),
        ],
    )
    def test_refuses_what_is_no_event_at_all(
        self, raw: bytes, content_type: str, headers: dict[str, str], status: int, code: str
    ) -> None:
        response = self.post(raw, content_type, **headers)
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert not models.DeadLetter.objects.exists()

    def test_is_not_taken_at_the_door_of_gateway_records(self) -> None:
        by = client("events:write")
        sent = by.post("/v1/events/requests", json.dumps(GOOD), content_type="application/cloudevents+json")
        assert sent.status_code == 415


class TestSurrogates:
    @pytest.mark.parametrize("half", ["\ud800", "low: \udc00", "\udc00\ud800", "\ud83dx", "\\\ud800"])
    def test_spoil_their_event_alone(self, half: str) -> None:
        native = {"tenant_id": "acme", "event_type": "t", "idempotency_key": "k1"}
        whole = {**native, "properties": {"a": "\U0001f600 \\ud800 \ufffd"}}
        raw = json.dumps({"events": [whole, {**native, "properties": {"a": half}}, whole]}).encode()
        batch = schemas.decode_batch(raw)
        assert [isinstance(each, schemas.Refusal) for each in batch.events] == [False, True, False]
        assert isinstance(batch.events[1], schemas.Refusal)
        assert (batch.events[1].code, batch.events[1].tenant_id) == ("invalid_text", "acme")
        assert json.loads(batch.payload_of(1))["properties"] == {"a": half}
        assert batch.events[0] == batch.events[2] == schemas.decode_event(json.dumps(whole).encode())
