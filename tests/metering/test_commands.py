"""Metering's commands and tasks: the same calls, for operators and for beat."""

import io
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from metering import models, tasks, usage
from tests.factories import metering as factories

pytestmark = pytest.mark.django_db
LINE = (
    '{"tenant_id": "acme", "event_type": "api", "idempotency_key": "%s", "event_timestamp": "2026-11-20T10:00:00Z"}\n'
)
AS_OF = "2026-11-20T12:00:00Z"
INPUT_TOKENS = """event_type=llm.input_tokens quantity={ContextTokens}
    event_timestamp={TIMESTAMP} idempotency_key={row}-input"""
OUTPUT_TOKENS = """event_type=llm.output_tokens quantity={GeneratedTokens}
    event_timestamp={TIMESTAMP} idempotency_key={row}-output"""


def run(*arguments: Any, needs_person: bool = False) -> dict[str, Any]:
    """The command's JSON line."""
    output = io.StringIO()
    if needs_person:
        with pytest.raises(SystemExit) as left:
            call_command(*arguments, "--json", stdout=output)
        assert left.value.code == 1
    else:
        call_command(*arguments, "--json", stdout=output)
    (line,) = output.getvalue().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


class TestIngest:
    def test_takes_a_file_in_and_again_as_duplicates(self, tmp_path: Path) -> None:
        file = tmp_path / "events.ndjson"
        file.write_text("".join(LINE % n for n in range(2500)))
        first = run("ingest", str(file), "--as-of", AS_OF)
        assert (first["accepted"], first["duplicates"], first["rejected"]) == (2500, 0, 0)
        second = run("ingest", str(file), "--as-of", AS_OF)
        assert (second["accepted"], second["duplicates"], second["rejected"]) == (0, 2500, 0)

    def test_takes_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stdin = io.TextIOWrapper(io.BytesIO((LINE % 1).encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        assert run("ingest", "-", "--as-of", AS_OF)["accepted"] == 1

    def test_takes_csv_from_standard_input_and_leaves_it_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stdin = io.TextIOWrapper(io.BytesIO(b"n\n1\n2\n"))
        monkeypatch.setattr(sys, "stdin", stdin)
        one = "tenant_id=a event_type=b idempotency_key={row} quantity={n}"
        assert run("ingest", "-", "--format", "csv", "--map", one)["accepted"] == 2

    def test_needs_a_person_where_something_was_rejected(self, tmp_path: Path) -> None:
        file = tmp_path / "events.ndjson"
        file.write_text(LINE % 1 + '{"quantity": -1}\n' + LINE % 2)
        report = run("ingest", str(file), "--as-of", AS_OF, needs_person=True)
        assert (report["accepted"], report["rejected"]) == (2, 1)
        assert report["rejected_by_code"] == {"negative_quantity": 1}
        assert models.DeadLetter.objects.count() == 1

    def test_takes_old_events_as_a_backfill_only(self, tmp_path: Path) -> None:
        file = tmp_path / "events.ndjson"
        file.write_text((LINE % 1).replace("2026", "2012"))
        assert run("ingest", str(file), "--as-of", AS_OF, needs_person=True)["accepted"] == 0
        assert run("ingest", str(file), "--as-of", AS_OF, "--backfill")["accepted"] == 1

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["no-such-file.csv"], "No such file"),
            (["-", "--timezone", "Mars/Olympus"], "no time zone"),
            (["-", "--map", "quantity={n}"], "--format csv"),
            (["-", "--format", "csv", "--map", "quantity"], "invalid_mapping"),
        ],
    )
    def test_says_what_is_wrong_with_its_options(self, options: list[str], said: str) -> None:
        with pytest.raises(CommandError, match=said):
            call_command("ingest", *options)

    @pytest.mark.trace
    @pytest.mark.skipif("USAGE_TRACE_CSV" not in os.environ, reason="USAGE_TRACE_CSV names no trace")
    def test_takes_the_real_trace_in_and_finds_its_tokens(self) -> None:
        arguments = ["ingest", os.environ["USAGE_TRACE_CSV"], "--tenant", "trace", "--timezone", "UTC", "--backfill"]
        arguments += ["--map", INPUT_TOKENS, "--map", OUTPUT_TOKENS, "--as-of", "2023-11-20T00:00:00Z"]
        first, second = run(*arguments), run(*arguments)
        assert (first["accepted"], first["duplicates"], first["rejected"]) == (17_638, 0, 0)
        assert (second["accepted"], second["duplicates"], second["rejected"]) == (0, 17_638, 0)
        run("aggregate_usage", "--as-of", "2023-11-20T00:00:00Z")
        november: dict[str, Any] = {
            "tenant_id": "trace",
            "period_start": datetime(2023, 11, 1, tzinfo=UTC),
            "period_end": datetime(2023, 12, 1, tzinfo=UTC),
        }
        assert usage.totals(meters=["llm.input_tokens", "llm.output_tokens"], **november) == {
            "llm.input_tokens": usage.UsageTotal(18_059_974, 8_819),
            "llm.output_tokens": usage.UsageTotal(245_896, 8_819),
        }
        assert not usage.has_pending_windows(**november)


class TestAggregateUsage:
    def test_says_what_it_did(self) -> None:
        factories.ingest_many(3)
        report = run("aggregate_usage", "--as-of", AS_OF)
        nothing = {"backfilled": 0, "quarantined": 0, "remaining": 0, "busy": 0, "needs_person": False}
        assert report == {"as_of": AS_OF, "slices": 1, "windows": 1, "changed": 1, "rolled_up": 2, **nothing}

    def test_is_beats_task_too(self) -> None:
        factories.ingest_many(3)
        tasks.aggregate_usage()
        assert models.UsageSummary.objects.get(granularity="hour").total == 3


class TestMaintainPartitions:
    def test_says_what_it_made(self) -> None:
        report = run("maintain_partitions", "--as-of", "2033-06-15T00:00:00Z")
        assert report["made"] == ["2033-03", "2033-04", "2033-05", "2033-06", "2033-07", "2033-08"]
        assert (report["default_rows"], report["blocked"]) == (0, [])

    def test_is_beats_task_too(self) -> None:
        tasks.maintain_partitions()
        month = (timezone.now() + timedelta(days=31)).strftime("%Y-%m")
        assert month not in run("maintain_partitions")["made"]
