"""Events from files: NDJSON, and CSV by a mapping."""

import io
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from metering import errors, schemas
from metering.streams import files, mapping

UTC = ZoneInfo("UTC")
Events = list[schemas.EventIn | schemas.Refusal]


def defaults(tenant_id: str | None = None, source: str | None = None, time_zone: str = "UTC") -> files.Defaults:
    return files.Defaults(tenant_id=tenant_id, source=source, time_zone=ZoneInfo(time_zone))


def csv_events(text: str | bytes, *maps: str, **options: Any) -> Events:
    raw = text.encode() if isinstance(text, str) else text
    return list(
        files.read_csv(io.BytesIO(raw), maps=[mapping.parse(one) for one in maps], defaults=defaults(**options))
    )


def ndjson_events(text: str | bytes, **options: Any) -> Events:
    raw = text.encode() if isinstance(text, str) else text
    return list(files.read_ndjson(io.BytesIO(raw), defaults=defaults(**options)))


def good(events: Sequence[schemas.EventIn | schemas.Refusal]) -> list[schemas.EventIn]:
    assert not [event for event in events if isinstance(event, schemas.Refusal)]
    return [event for event in events if isinstance(event, schemas.EventIn)]


def codes(events: Sequence[schemas.EventIn | schemas.Refusal]) -> list[str]:
    return [event.code if isinstance(event, schemas.Refusal) else "good" for event in events]


class TestReadCsv:
    TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03.9799600,4808,10\r\n2023-11-16 18:17:04,0,8"
    INPUT = "event_type=llm.input quantity={ContextTokens} idempotency_key={row}-in event_timestamp={TIMESTAMP}"
    OUTPUT = "event_type=llm.output quantity={GeneratedTokens} idempotency_key={row}-out event_timestamp={TIMESTAMP}"

    def test_makes_an_event_of_each_map_of_each_row(self) -> None:
        events = good(csv_events(self.TRACE, self.INPUT, self.OUTPUT, tenant_id="acme", source="trace"))
        assert [(event.idempotency_key, event.event_type, event.quantity) for event in events] == [
            ("1-in", "llm.input", 4808),
            ("1-out", "llm.output", 10),
            ("2-in", "llm.input", 0),
            ("2-out", "llm.output", 8),
        ]
        assert {(event.tenant_id, event.source) for event in events} == {("acme", "trace")}
        assert events[0].event_timestamp is not None
        assert events[0].event_timestamp.isoformat() == "2023-11-16T18:17:03.979960+00:00"

    def test_takes_columns_that_are_named_like_fields_as_they_are(self) -> None:
        text = (
            "tenant_id,event_type,idempotency_key,quantity,properties.region,event_timestamp\n"
            "acme,api,k1,5,eu,2026-11-01T00:00:00+01:00\n"
        )
        (event,) = good(csv_events(text))
        assert (event.quantity, event.properties) == (5, {"region": "eu"})
        assert event.event_timestamp is not None
        assert event.event_timestamp.isoformat() == "2026-11-01T00:00:00+01:00"

    @pytest.mark.parametrize(
        ("zone", "text", "expected"),
        [
            ("Asia/Kolkata", "2026-11-01 00:00:00", "2026-11-01T00:00:00+05:30"),
            ("America/New_York", "2026-07-01 00:00:00", "2026-07-01T00:00:00-04:00"),
            ("Asia/Kolkata", "2026-11-01T00:00:00Z", "2026-11-01T00:00:00+00:00"),
        ],
    )
    def test_reads_times_without_offset_in_the_zone_that_is_told(self, zone: str, text: str, expected: str) -> None:
        one = "tenant_id=a event_type=b idempotency_key=c event_timestamp={when}"
        (event,) = good(csv_events(f"when\n{text}\n", one, time_zone=zone))
        assert event.event_timestamp is not None
        assert event.event_timestamp.isoformat() == expected

    def test_refuses_a_row_and_goes_on(self) -> None:
        text = (
            "n,when\n5,2026-11-01 00:00:00\nmany,2026-11-01 00:00:00\n-1,2026-11-01 00:00:00\n1.5,x\n7,soon\n1\n1,2,3\n"
        )
        one = "tenant_id=a event_type=b idempotency_key={row} quantity={n} event_timestamp={when}"
        assert codes(csv_events(text, one)) == [
            "good",
            "wrong_type",
            "negative_quantity",
            "wrong_type",
            "invalid_timestamp",
            "wrong_column_count",
            "wrong_column_count",
        ]

    def test_refuses_bytes_that_are_no_utf8(self) -> None:
        events = csv_events(b"n\ncaf\xe9\n", "tenant_id=a event_type=b idempotency_key={n}")
        assert codes(events) == ["invalid_text"]

    def test_passes_over_empty_lines_and_the_spreadsheets_mark(self) -> None:
        one = "tenant_id=a event_type=b idempotency_key={row}-{n}"
        events = good(csv_events(b"\xef\xbb\xbfn\n\n1\n\n2\n", one))
        assert [event.idempotency_key for event in events] == ["1-1", "2-2"]

    def test_refuses_a_file_without_header(self) -> None:
        with pytest.raises(errors.UnreadableFile):
            csv_events("", "tenant_id=a")

    def test_refuses_columns_that_nobody_mapped(self) -> None:
        with pytest.raises(errors.InvalidMapping, match="Tokens"):
            csv_events("tenant_id,Tokens\na,1\n")

    def test_refuses_a_map_of_a_column_that_is_not_there(self) -> None:
        with pytest.raises(errors.InvalidMapping, match="Tokens"):
            csv_events("tenant_id\na\n", "quantity={Tokens}")

    def test_stops_at_what_is_no_csv(self) -> None:
        with pytest.raises(errors.UnreadableFile):
            csv_events("n\n" + "x" * 200_000, "tenant_id=a event_type=b idempotency_key={n}")


class TestParse:
    @pytest.mark.parametrize(
        "text",
        ["quantity", "quantity=", "=5", "amount=5", "properties.=x", "quantity=1 quantity=2", "quantity='1", "row={x}"],
    )
    def test_refuses(self, text: str) -> None:
        with pytest.raises(errors.InvalidMapping):
            mapping.parse(text)

    def test_takes_quoted_values_and_columns_with_spaces(self) -> None:
        one = mapping.parse("""source='my file' properties.k="{Key Name}-{row}" """)
        assert one.columns() == {"Key Name", "row"}
        assert one.event_of({"Key Name": "x", "row": "3"}, time_zone=None) == {
            "source": "my file",
            "properties": {"k": "x-3"},
        }

    def test_puts_no_template_into_a_value(self) -> None:
        one = mapping.parse("idempotency_key={a}")
        assert one.event_of({"a": "{b}", "b": "secret"}, time_zone=None) == {"idempotency_key": "{b}"}


class TestReadNdjson:
    LINE = '{"tenant_id": "acme", "event_type": "api", "idempotency_key": "k"}'

    def test_takes_an_event_a_line(self) -> None:
        assert len(good(ndjson_events(f"{self.LINE}\r\n\n  {self.LINE}"))) == 2

    def test_fills_in_what_was_told_and_lets_the_line_say_otherwise(self) -> None:
        text = f'{self.LINE}\n{{"event_type": "api", "idempotency_key": "k", "source": "own"}}'
        events = good(ndjson_events(text, tenant_id="other", source="file"))
        assert [(event.tenant_id, event.source) for event in events] == [("acme", "file"), ("other", "own")]

    @pytest.mark.parametrize("tenant_id", [None, "acme"])
    def test_refuses_a_line_and_goes_on(self, tenant_id: str | None) -> None:
        text = f'{{\n5\n{{"quantity": -1}}\n{self.LINE}\n'
        assert codes(ndjson_events(text, tenant_id=tenant_id)) == [
            "invalid_json",
            "wrong_type",
            "negative_quantity",
            "good",
        ]

    def test_refuses_a_line_without_end_and_goes_on(self) -> None:
        text = b'"' + b"x" * (2 * schemas.MAX_BODY_BYTES + 5) + b'"\n' + self.LINE.encode()
        assert codes(ndjson_events(text)) == ["event_too_large", "good"]


class TestBatches:
    def test_cuts_at_the_size(self) -> None:
        events = good(ndjson_events(f"{TestReadNdjson.LINE}\n" * 7))
        assert [len(batch) for batch in files.batches(events, size=3)] == [3, 3, 1]
