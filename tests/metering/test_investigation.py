"""What came of a tenant's usage, stage by stage, and what stands out."""

import io
import json
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from metering import aggregation, errors, findings, hours, investigation, models, partitions, schemas, stages
from metering.findings import HourRow
from tests.factories import metering as factories

NOW = factories.NOW
FROM = datetime(2026, 11, 10, tzinfo=UTC)
TO = datetime(2026, 11, 13, tzinfo=UTC)
event = factories.EventInFactory.build


def send(moments: Iterable[datetime], *, now: datetime = NOW, **members: Any) -> None:
    factories.ingest(*[event(event_timestamp=moment, **members) for moment in moments], now=now)


def each_hour(start: datetime, end: datetime, *, except_hours: Iterable[int] = ()) -> list[datetime]:
    skipped = set(except_hours)
    count = int((end - start).total_seconds() // 3600)
    return [start + timedelta(hours=n, minutes=1) for n in range(count) if n not in skipped]


def look(**options: Any) -> tuple[investigation.Investigation, list[HourRow]]:
    rows: list[HourRow] = []
    arguments = {"tenant_id": "acme-corp", "period_from": FROM, "period_to": TO, "now": NOW, **options}
    return investigation.investigate(on_hour=rows.append, **arguments), rows


def told(found: investigation.Investigation, code: str) -> str:
    """The only finding of a kind."""
    (finding,) = [finding for finding in found.findings if finding.code == code]
    return finding.detail


def codes(found: investigation.Investigation) -> set[str]:
    return {finding.code for finding in found.findings}


@pytest.mark.django_db
class TestStages:
    def test_lie_side_by_side_for_each_hour(self) -> None:
        moment = FROM + timedelta(hours=5, minutes=30)
        first = event(event_timestamp=moment, quantity=7)
        factories.ingest(first, event(event_timestamp=moment, quantity=2))
        factories.ingest(first, first)
        factories.ingest(event(event_timestamp=moment, idempotency_key=first.idempotency_key, quantity=8))
        factories.ingest(schemas.decode_event(_bad(moment)), schemas.decode_event(_bad(moment)))
        send([moment], event_type="other")
        aggregation.aggregate_usage(now=NOW)
        found, rows = look()
        api, other = rows
        assert (api.event_type, api.hour) == ("api_call", hours.hour_of(moment))
        assert {name: getattr(api, name) for name in stages.STAGES} == {
            "accepted": 2,
            "duplicates": 2,
            "conflicts": 1,
            "dead_letters": 2,
            "late": 0,
            "summarised": 2,
            "billed": 0,
        }
        assert (api.accepted_quantity, api.summarised_quantity) == (9, 9)
        assert (other.event_type, other.accepted, other.summarised) == ("other", 1, 1)
        assert found.stages["accepted"] == 3
        assert found.quantities == {"accepted": 10, "summarised": 10}
        assert (found.hours_with_usage, found.event_types) == (1, ["api_call", "other"])
        assert codes(found) == {"dead_letters_open"}
        assert found.needs_person

    def test_keep_to_one_meter(self) -> None:
        send([FROM], event_type="api_call")
        send([FROM], event_type="other")
        models.Meter.objects.create(code="calls", event_type="api_call", aggregation="count", created_at=NOW)
        assert {row.event_type for row in look(meter="calls")[1]} == {"api_call"}
        assert {row.event_type for row in look(meter="other")[1]} == {"other"}
        assert look(meter="nothing")[1] == []

    def test_show_neither_other_tenants_nor_other_hours(self) -> None:
        send([FROM - timedelta(minutes=1), TO])
        send([FROM], tenant_id="other")
        found, rows = look()
        assert rows == []
        assert set(found.stages.values()) == {0}

    def test_are_the_same_in_slices_of_any_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        send(each_hour(FROM - timedelta(hours=5), TO + timedelta(hours=3)))
        whole = look()
        monkeypatch.setattr(stages, "_SLICE_HOURS", 7)
        assert look()[1] == whole[1]
        assert look()[0].stages == whole[0].stages

    def test_of_nobody_are_empty(self) -> None:
        found, rows = look(tenant_id="nobody")
        assert (rows, found.findings, found.needs_person) == ([], [], False)

    def test_of_an_empty_period_are_refused(self) -> None:
        with pytest.raises(errors.InvalidPeriod):
            look(period_to=FROM)

    def test_of_all_time_are_read(self) -> None:
        send([FROM])
        found, rows = look(
            period_from=datetime(1, 1, 1, tzinfo=UTC), period_to=datetime(2027, 1, 1, tzinfo=UTC), meter="api_call"
        )
        assert (len(rows), found.period_from) == (1, partitions.EARLIEST)


def _bad(moment: datetime) -> bytes:
    members = {"tenant_id": "acme-corp", "event_type": "api_call", "idempotency_key": "x", "quantity": -1}
    return json.dumps({**members, "event_timestamp": moment.isoformat()}).encode()


@pytest.mark.django_db
class TestGaps:
    def test_that_wait_for_aggregation_need_nobody(self) -> None:
        send(each_hour(FROM, FROM + timedelta(hours=3)))
        found, _ = look()
        assert "2026-11-10T00:00:00Z to 2026-11-10T03:00:00Z (3 hours)" in told(found, "not_summarised")
        assert "come to 3, of which the summaries count 0" in told(found, "not_summarised")
        assert not found.needs_person
        aggregation.aggregate_usage(now=NOW)
        assert codes(look()[0]) == set()

    def test_that_nothing_mends_need_somebody(self, superuser_cursor: psycopg.Cursor) -> None:
        send([FROM, FROM + timedelta(hours=2)])
        aggregation.aggregate_usage(now=NOW)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE metering_usage_summary SET total = total + 1 WHERE period_start = %s", [FROM])
        found, _ = look()
        assert "(1 hour)" in told(found, "summary_differs")
        assert found.needs_person

    def test_that_are_quarantined_need_somebody(self) -> None:
        send([FROM])
        aggregation.aggregate_usage(now=NOW)
        send([FROM])
        models.TouchedWindow.objects.all().delete()
        models.QuarantinedWindow.objects.create(
            shard=0,
            series_id=models.Series.objects.get().pk,
            event_hour=hours.hour_of(FROM),
            error="poison",
            started_at=NOW,
            first_failed_at=NOW,
            last_failed_at=NOW,
            retry_at=NOW,
        )
        found, _ = look()
        assert "come to 2, of which the summaries count 1" in told(found, "quarantined")
        assert found.needs_person

    def test_are_not_seen_in_corrections(self) -> None:
        amended, voided = event(event_timestamp=FROM, quantity=5), event(event_timestamp=FROM, quantity=9)
        factories.ingest(amended, voided)
        factories.ingest(
            event(event_timestamp=FROM + timedelta(hours=3), corrects=amended.idempotency_key, quantity=3),
            event(event_timestamp=FROM + timedelta(hours=3), corrects=voided.idempotency_key, quantity=0, void=True),
        )
        aggregation.aggregate_usage(now=NOW)
        found, rows = look()
        assert codes(found) == set()
        assert [(row.accepted, row.counted, row.counted_quantity, row.summarised) for row in rows] == [
            (2, 1, 3, 1),
            (2, 0, 0, 0),
        ]

    def test_are_not_seen_where_a_correction_waits_for_its_event(self) -> None:
        factories.ingest(event(event_timestamp=FROM, corrects="never-sent", quantity=3))
        aggregation.aggregate_usage(now=NOW)
        found, rows = look()
        assert [(row.accepted, row.counted, row.summarised) for row in rows] == [(1, 0, 0)]
        assert codes(found) == {"corrections_idle"}
        assert "1 of the corrections name an event that did not come yet" in told(found, "corrections_idle")
        assert not found.needs_person


@pytest.mark.django_db
class TestSilence:
    def test_of_a_busy_series_is_named(self) -> None:
        send(each_hour(FROM - timedelta(days=1), TO, except_hours=range(40, 43)))
        found, _ = look()
        assert "2026-11-10T16:00:00Z to 2026-11-10T19:00:00Z (3 hours)" in told(found, "silent_hours")
        assert "24 busy hours of the 24 before" in told(found, "silent_hours")

    def test_that_lasts_is_named_too(self) -> None:
        send(each_hour(FROM - timedelta(days=1), FROM + timedelta(hours=30)))
        assert "(42 hours), after 24 busy hours of the 24 before and had not resumed" in told(look()[0], "silent_hours")

    def test_that_begins_before_the_period_is_told_from_its_start(self) -> None:
        send(each_hour(FROM - timedelta(days=1), TO, except_hours=range(22, 27)))
        assert "2026-11-10T00:00:00Z to 2026-11-10T03:00:00Z (3 hours)" in told(look()[0], "silent_hours")

    def test_of_the_future_is_none(self) -> None:
        send(each_hour(FROM - timedelta(days=1), FROM + timedelta(hours=30)))
        found, _ = look(now=FROM + timedelta(hours=30))
        assert "silent_hours" not in codes(found)

    def test_of_a_sender_with_nights_is_its_habit(self) -> None:
        moments = each_hour(FROM - timedelta(days=1), TO)
        send([moment for moment in moments if 8 <= moment.hour < 18])
        assert "silent_hours" not in codes(look()[0])


@pytest.mark.django_db
class TestShiftedDays:
    @pytest.mark.parametrize(
        ("shift", "expected"),
        [
            (timedelta(hours=-5, minutes=-30), "begins 05:30 before 2026-11-10T00:00:00Z"),
            (timedelta(hours=-5, minutes=-45), "begins 05:45 before 2026-11-10T00:00:00Z"),
            (timedelta(hours=-9), "begins 09:00 before 2026-11-10T00:00:00Z"),
            (timedelta(hours=8), "ends 08:00 after 2026-11-13T00:00:00Z"),
        ],
    )
    def test_are_named_with_their_zone(self, shift: timedelta, expected: str) -> None:
        quarters = [FROM + timedelta(minutes=15 * n) for n in range(3 * 24 * 4)]
        send([moment + shift + timedelta(seconds=1 if shift < timedelta() else 899) for moment in quarters])
        found, _ = look()
        assert expected in told(found, "shifted_day")
        zone = "UTC+" if shift < timedelta() else "UTC-"
        assert f"days of {zone}{expected.split()[1]}" in told(found, "shifted_day")

    @pytest.mark.parametrize(
        "hours_of_day", [range(24), range(8, 18), range(18, 24), [20], [0], range(6), [3, 4, 5, 21, 22]]
    )
    def test_are_not_seen_in_a_sender_that_goes_on(self, hours_of_day: Iterable[int]) -> None:
        chosen = set(hours_of_day)
        moments = each_hour(FROM - timedelta(days=3), TO + timedelta(days=3))
        send([moment for moment in moments if moment.hour in chosen])
        assert "shifted_day" not in codes(look()[0])

    def test_are_not_seen_in_a_period_that_is_exact(self) -> None:
        send(each_hour(FROM, TO))
        assert "shifted_day" not in codes(look()[0])


class TestNotebook:
    def test_lists_no_more_of_a_kind_than_anyone_reads(self) -> None:
        notebook = findings.Notebook()
        for n in range(120):
            notebook.note("kind", "api_call", str(n), needs_person=n == 119)
        notebook.note("other", "api_call", "one")
        assert (len(notebook.findings), notebook.unlisted, notebook.needs_person) == (51, 70, True)


def run(*arguments: Any, as_json: bool = True) -> tuple[str, object]:
    output = io.StringIO()
    status: object = 0
    try:
        call_command("investigate_usage", *arguments, *(["--json"] if as_json else []), stdout=output)
    except SystemExit as left:
        status = left.code
    return output.getvalue(), status


@pytest.mark.django_db
class TestCommand:
    ASKED = ("acme-corp", "--from", "2026-11-10T00:00:00Z", "--to", "2026-11-13T00:00:00Z")

    def test_prints_one_json_line(self) -> None:
        send(each_hour(FROM, FROM + timedelta(hours=3)))
        aggregation.aggregate_usage(now=NOW)
        text, status = run(*self.ASKED)
        (line,) = text.splitlines()
        found = json.loads(line)
        assert [row["hour"] for row in found["hours"]] == [
            "2026-11-10T00:00:00Z",
            "2026-11-10T01:00:00Z",
            "2026-11-10T02:00:00Z",
        ]
        assert found["hours"][0]["accepted"] == found["hours"][0]["summarised"] == 1
        assert found["stages"]["accepted"] == 3
        assert (found["findings"], found["needs_person"], status) == ([], False, 0)

    def test_prints_one_json_line_of_nothing(self) -> None:
        text, status = run(*self.ASKED)
        assert (json.loads(text)["hours"], status) == ([], 0)

    def test_prints_a_table_and_words(self) -> None:
        send([FROM])
        factories.ingest(schemas.decode_event(_bad(FROM)))
        text, status = run(*self.ASKED, as_json=False)
        assert "dead letters" in text.splitlines()[0]
        assert text.splitlines()[1].split() == ["2026-11-10T00:00:00Z", "api_call", "1", "0", "0", "1", "0", "0", "0"]
        assert "! 1 dead letter is open as negative_quantity" in text
        assert "- api_call: 2026-11-10T00:00:00Z" in text
        assert status == 1

    def test_says_that_nothing_stands_out(self) -> None:
        assert "nothing stands out" in run(*self.ASKED, as_json=False)[0]

    @pytest.mark.parametrize(
        "arguments",
        [["acme-corp"], ["acme-corp", "--from", "x", "--to", "y"], [*ASKED[:2], ASKED[4], "--to", ASKED[2]]],
    )
    def test_says_what_is_wrong_with_its_options(self, arguments: list[str]) -> None:
        with pytest.raises(CommandError):
            call_command("investigate_usage", *arguments)


@pytest.mark.django_db
def test_needs_no_more_memory_for_a_long_period_than_for_a_short_one() -> None:
    end = NOW.replace(minute=0)
    send(each_hour(end - timedelta(days=80), end), event_type="busy")

    def peak(days: int) -> int:
        tracemalloc.start()
        try:
            investigation.investigate(
                tenant_id="acme-corp", period_from=end - timedelta(days=days), period_to=end, now=NOW
            )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(8)  # whatever is loaded once
    assert peak(78) < 1.5 * peak(38)


@pytest.mark.django_db
def test_reads_events_by_the_covering_index_alone() -> None:
    send(each_hour(FROM, TO))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        series = models.Series.objects.get()
        cursor.execute(
            f"EXPLAIN {stages._USAGE}",
            {
                "tenant_id": "acme-corp",
                "series_ids": [series.pk],
                "event_types": ["api_call"],
                "first_hour": hours.hour_of(FROM),
                "last_hour": hours.hour_of(TO),
            },
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Only Scan using metering_event_2026_11" in plan
    assert "Seq Scan on metering_event" not in plan
