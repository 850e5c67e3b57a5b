"""Each event once, whichever door it comes by, however often, whoever else sends it, wherever a writer dies."""

import contextlib
import gzip
import io
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering import aggregation, ingestion, models, schemas
from tests.factories import kernel as kernel_factories
from tests.factories import metering as factories
from tests.support import services, waiting
from tests.support.threads import run_together

NOW = factories.NOW
event = factories.EventInFactory.build


class Sent(NamedTuple):
    """An event as a sender has it in mind: one of few keys, with values that may differ from the last time."""

    key: int
    quantity: int
    hours_ago: int | None
    event_type: str


def members(sent: Sent, tenant_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "tenant_id": tenant_id,
        "event_type": sent.event_type,
        "idempotency_key": f"/meter {sent.key}",
        "quantity": sent.quantity,
        "source": "/meter",
        "properties": {"region": "eu"},
    }
    if sent.hours_ago is not None:
        found["event_timestamp"] = (NOW - timedelta(hours=sent.hours_ago)).isoformat()
    return found


def cloud_event(sent: Sent, tenant_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(sent.key),
        "source": "/meter",
        "type": sent.event_type,
        "subject": tenant_id,
        "data": {"quantity": sent.quantity, "region": "eu"},
    }
    if sent.hours_ago is not None:
        found["time"] = (NOW - timedelta(hours=sent.hours_ago)).isoformat()
    return found


Tally = tuple[int, int, int]


def by_http(batch: list[Sent], tenant_id: str) -> Tally:
    return post({"events": [members(sent, tenant_id) for sent in batch]}, "application/json")


def by_gzip(batch: list[Sent], tenant_id: str) -> Tally:
    body = gzip.compress(json.dumps({"events": [members(sent, tenant_id) for sent in batch]}).encode())
    return post(body, "application/json", HTTP_CONTENT_ENCODING="gzip")


def by_cloud_events(batch: list[Sent], tenant_id: str) -> Tally:
    return post([cloud_event(sent, tenant_id) for sent in batch], "application/cloudevents-batch+json")


def by_single_cloud_events(batch: list[Sent], tenant_id: str) -> Tally:
    tallies = [post(cloud_event(sent, tenant_id), "application/cloudevents+json") for sent in batch]
    return added(tallies)


def by_headers(batch: list[Sent], tenant_id: str) -> Tally:
    tallies = []
    for sent in batch:
        attributes = cloud_event(sent, tenant_id)
        data = attributes.pop("data")
        headers = {f"HTTP_CE_{name.upper()}": str(value) for name, value in attributes.items()}
        tallies.append(post(data, "application/json", **headers))
    return added(tallies)


def by_file(batch: list[Sent], tenant_id: str) -> Tally:
    with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
        file.writelines(json.dumps(members(sent, tenant_id)) + "\n" for sent in batch)
        file.flush()
        output = io.StringIO()
        with contextlib.suppress(SystemExit):  # something was refused, which the tally tells
            call_command("ingest", file.name, "--json", "--as-of", NOW.isoformat(), stdout=output)
    answer = json.loads(output.getvalue())
    return answer["accepted"], answer["duplicates"], answer["rejected"]


def by_python(batch: list[Sent], tenant_id: str) -> Tally:
    events = [schemas.decode_event(json.dumps(members(sent, tenant_id)).encode()) for sent in batch]
    report = ingestion.ingest(events=events, now=NOW)
    return report.accepted, report.duplicates, report.rejected


def post(body: Any, content_type: str, **headers: str) -> Tally:
    raw = body if isinstance(body, bytes) else json.dumps(body)
    options: dict[str, Any] = {"content_type": content_type, **headers}
    response = kernel_factories.client("events:write").post("/v1/events", raw, **options)
    assert response.status_code == 200, response.content
    answer = response.json()
    return answer["accepted"], answer["duplicates"], answer["rejected"]


def added(tallies: list[Tally]) -> Tally:
    return sum(one[0] for one in tallies), sum(one[1] for one in tallies), sum(one[2] for one in tallies)


DOORS: list[Callable[[list[Sent], str], Tally]] = [
    by_http,
    by_gzip,
    by_cloud_events,
    by_single_cloud_events,
    by_headers,
    by_file,
    by_python,
]
sendings = st.builds(
    Sent,
    key=st.integers(0, 5),
    quantity=st.integers(1, 2),
    hours_ago=st.sampled_from([None, 1, 30 * 24]),
    event_type=st.sampled_from(["api_call", "api_call", "other"]),
)


def expect(stored: dict[int, Sent], batch: list[Sent]) -> Tally:
    """The model: the first event of a key is taken, the same again is a duplicate, anything else is refused."""
    accepted = duplicates = rejected = 0
    # Of a key that nobody used yet, the first of the batch is stored; the others are held against it.
    for sent in batch:
        first = stored.setdefault(sent.key, sent)
        if first is sent:
            accepted += 1
        elif first == sent:
            duplicates += 1
        else:
            rejected += 1
    return accepted, duplicates, rejected


@pytest.mark.django_db
class TestDoors:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.tuples(st.sampled_from(DOORS), st.lists(sendings, min_size=1, max_size=6)), max_size=6))
    def test_lead_to_one_store(self, batches: list[tuple[Callable[[list[Sent], str], Tally], list[Sent]]]) -> None:
        tenant_id = f"t-{uuid4().hex}"
        stored: dict[int, Sent] = {}
        for door, batch in batches:
            assert door(batch, tenant_id) == expect(stored, [sent._replace() for sent in batch])
        series = dict(models.Series.objects.filter(tenant_id=tenant_id).values_list("pk", "event_type"))
        found = models.Event.objects.filter(series_id__in=series)
        assert {(row.idempotency_key, row.quantity, series[row.series_id]) for row in found} == {
            (f"/meter {sent.key}", sent.quantity, sent.event_type) for sent in stored.values()
        }
        assert found.count() == len(stored) == models.EventKey.objects.filter(series_id__in=series).count()


class TestWriters:
    @pytest.mark.processes
    @pytest.mark.timeout(400)
    def test_8_that_send_the_same_50_000_events_in_random_order_store_50_000(
        self, committed_db: str, tmp_path: Path
    ) -> None:
        """Processes of their own, each with its own order; a tenth of the senders' clocks are months apart."""
        count, writers = 50_000, 8
        lines = [
            json.dumps(members(Sent(n, n % 7, n % 2_000, "api_call"), f"tenant-{n % 97}")) + "\n" for n in range(count)
        ]
        programs = []
        for seed in range(writers):
            file = tmp_path / f"{seed}.ndjson"
            file.write_text("".join(random.Random(seed).sample(lines, count)))  # noqa: S311
            command = [sys.executable, "manage.py", "ingest", str(file), "--json", "--as-of", NOW.isoformat()]
            programs.append(
                subprocess.Popen(
                    command,
                    cwd=services.ROOT,
                    env=dict(os.environ),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                ),
            )
        told = [program.communicate(timeout=600) for program in programs]
        answers: list[Mapping[str, int]] = [json.loads(output) for output, _ in told]
        assert [program.returncode for program in programs] == [0] * writers, told
        assert sum(answer["accepted"] for answer in answers) == count
        assert sum(answer["duplicates"] for answer in answers) == count * (writers - 1)
        assert sum(answer["rejected"] for answer in answers) == 0
        assert count_events_and_keys() == (count, count, count)
        aggregation.aggregate_usage(now=NOW)
        hourly = models.UsageSummary.objects.filter(granularity=models.Granularity.HOUR, group_key="")
        assert sum(hourly.values_list("event_count", flat=True)) == count
        assert sum(hourly.values_list("total", flat=True)) == sum(n % 7 for n in range(count))
        repeated = models.RepeatedEvent.objects.values_list("duplicates", "conflicts")
        assert sum(duplicates for duplicates, _ in repeated) == count * (writers - 1)


def count_events_and_keys() -> tuple[int, int, int]:
    """Events, keys, and pairs of both that belong together."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM metering_event), (SELECT count(*) FROM metering_event_key),"
            " (SELECT count(*) FROM metering_event_key AS key JOIN metering_event AS event"
            " USING (key_hash, series_id, event_hour, batch_id))",
        )
        events, keys, both = cursor.fetchone()
        return events, keys, both


POINTS = {
    "before its keys": "LOCK TABLE metering_event_key IN EXCLUSIVE MODE",
    "between keys and events": "LOCK TABLE metering_event IN EXCLUSIVE MODE",
    "between events and corrections": "LOCK TABLE metering_correction IN EXCLUSIVE MODE",
    "between events and windows": "LOCK TABLE metering_touched_window IN EXCLUSIVE MODE",
    "between windows and repeats": "LOCK TABLE metering_repeated_event IN EXCLUSIVE MODE",
    "between repeats and dead letters": "LOCK TABLE metering_dead_letter IN EXCLUSIVE MODE",
    "at its commit": "SELECT pg_advisory_xact_lock(42)",
}


class TestDeath:
    @pytest.mark.parametrize("point", POINTS)
    def test_of_a_writer_leaves_no_key_without_its_event(
        self, point: str, committed_db: str, superuser_cursor: psycopg.Cursor
    ) -> None:
        superuser_cursor.execute(
            "CREATE FUNCTION wait_for_it() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
            " 'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END';"
            " CREATE CONSTRAINT TRIGGER commit_waits AFTER INSERT ON metering_touched_window"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_for_it()",
        )
        first = event()
        factories.ingest(first)  # makes month and series, so that the next writer waits nowhere before
        batch = [
            event(),
            event(),
            event(corrects=first.idempotency_key, quantity=5),
            first,
            event(event_timestamp=NOW - timedelta(days=200)),
        ]

        def die() -> None:
            with pytest.raises(OperationalError):
                ingestion.ingest(events=batch, now=NOW)

        def kill() -> None:
            waiting.until(has_killed, seconds=20, what=f"a writer that waits {point}")
            superuser_cursor.execute("COMMIT")

        def has_killed() -> bool:
            superuser_cursor.execute("SELECT pg_stat_clear_snapshot()")
            superuser_cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database()",
            )
            return bool(superuser_cursor.fetchall())

        superuser_cursor.execute(f"BEGIN; {POINTS[point]}")
        outcomes = run_together([die, kill])
        assert [one for one in outcomes if isinstance(one, BaseException)] == []
        assert count_events_and_keys() == (1, 1, 1)
        assert not models.Correction.objects.exists()
        report = ingestion.ingest(events=batch, now=NOW)
        assert (report.accepted, report.duplicates, report.rejected) == (3, 1, 1)
        assert count_events_and_keys() == (4, 4, 4)
