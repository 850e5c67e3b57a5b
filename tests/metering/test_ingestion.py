"""Storing each event once, with its key, its window and, where it was refused, its dead letter."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from metering import hours, models, schemas
from tests.factories import metering as factories

pytestmark = pytest.mark.django_db

NOW = factories.NOW
event = factories.EventInFactory.build
ingest = factories.ingest


def stored() -> dict[str, int]:
    with connection.cursor() as cursor:
        counts = {}
        for table in ("event", "event_key", "series", "touched_window", "dead_letter"):
            cursor.execute(f"SELECT count(*) FROM metering_{table}")
            counts[table] = cursor.fetchone()[0]
        return counts


class TestIngest:
    def test_stores_an_event_with_its_key_and_its_window(self) -> None:
        sent = event(
            quantity=7,
            source="gateway",
            idempotency_key='odd \\N\t"key"\n',
            properties={"text": 'tab\t quote" back\\slash é 😀', "n": [1.5, None, True]},
        )
        assert ingest(sent).accepted == 1
        row = models.Event.objects.get()
        series = models.Series.objects.get()
        assert (series.tenant_id, series.event_type) == ("acme-corp", "api_call")
        assert (row.series_id, row.quantity, row.source) == (series.pk, 7, "gateway")
        assert row.idempotency_key == sent.idempotency_key
        assert row.properties == sent.properties
        assert row.event_timestamp == sent.event_timestamp
        assert row.created_at == NOW
        assert (row.void, row.corrects) == (False, None)
        key = models.EventKey.objects.get()
        assert (key.key_hash, key.batch_id, key.created_at) == (row.key_hash, row.batch_id, NOW)
        assert (key.series_id, key.event_hour) == (row.series_id, row.event_hour)
        touched = models.TouchedWindow.objects.get()
        assert (touched.series_ids, touched.hours) == ([series.pk], [hours.hour_of(sent.event_timestamp)])
        assert touched.batch_id == row.batch_id

    def test_makes_one_touched_row_a_batch_with_each_window_once(self) -> None:
        at = NOW - timedelta(hours=5)
        ingest(
            *(event(event_timestamp=at + timedelta(hours=hour)) for hour in (0, 0, 1)),
            event(event_timestamp=at, tenant_id="other"),
        )
        touched = models.TouchedWindow.objects.get()
        assert len(touched.hours) == 3
        assert len(set(zip(touched.series_ids, touched.hours, strict=True))) == 3

    def test_takes_the_same_event_again_as_a_duplicate(self) -> None:
        sent = event()
        ingest(sent)
        again = ingest(sent, now=NOW + timedelta(days=3))
        assert (again.accepted, again.duplicates, again.rejected) == (0, 1, 0)
        assert models.Event.objects.count() == 1
        assert models.TouchedWindow.objects.count() == 1

    def test_takes_a_retry_without_time_as_a_duplicate(self) -> None:
        sent = event(event_timestamp=None)
        ingest(sent)
        assert ingest(sent, now=NOW + timedelta(hours=3)).duplicates == 1
        assert models.Event.objects.get().event_timestamp == NOW

    @pytest.mark.parametrize(
        "change",
        [
            {"quantity": 2},
            {"event_type": "other"},
            {"event_timestamp": NOW},
            {"event_timestamp": NOW - timedelta(days=60)},
            {"event_timestamp": None},
            {"properties": {"a": 1}},
        ],
    )
    def test_refuses_other_values_under_a_used_key_and_lets_the_first_stand(self, change: dict[str, Any]) -> None:
        ingest(event(idempotency_key="k"))
        report = ingest(event(idempotency_key="k", **change))
        assert (report.accepted, report.duplicates, report.rejected) == (0, 0, 1)
        assert report.errors[0].code == "idempotency_conflict"
        assert models.Event.objects.get().quantity == 1
        assert models.DeadLetter.objects.get().pk == report.errors[0].dead_letter_id

    def test_keeps_keys_of_tenants_apart(self) -> None:
        report = ingest(event(idempotency_key="k"), event(idempotency_key="k", tenant_id="other"))
        assert report.accepted == 2

    def test_tells_new_known_and_changed_events_of_one_batch_apart(self) -> None:
        ingest(*(event(idempotency_key=f"k{n}") for n in range(50)))
        report = ingest(
            *(event(idempotency_key=f"k{n}", quantity=1 if n % 5 else 9) for n in range(100)),
        )
        assert (report.accepted, report.duplicates, report.rejected) == (50, 40, 10)
        assert [verdict.index for verdict in report.errors] == list(range(0, 50, 5))
        assert models.Event.objects.count() == 100

    def test_stores_the_good_events_of_a_batch_with_bad_ones(self) -> None:
        bad = schemas.decode_event(b'{"tenant_id": "acme-corp", "quantity": -1}')
        report = ingest(event(), bad, event(event_timestamp=NOW - timedelta(days=91)), event())
        assert (report.accepted, report.rejected) == (2, 2)
        assert [(verdict.index, verdict.code) for verdict in report.errors] == [
            (1, "negative_quantity"),
            (2, "timestamp_too_old"),
        ]

    def test_stores_no_key_for_a_refused_event(self) -> None:
        ingest(event(event_timestamp=NOW - timedelta(days=91)))
        assert stored() == {"event": 0, "event_key": 0, "series": 0, "touched_window": 0, "dead_letter": 1}

    def test_takes_ten_thousand_events_of_a_thousand_series(self) -> None:
        report = ingest(*(event(tenant_id=f"t{n % 1000}") for n in range(10_000)))
        assert report.accepted == 10_000
        assert models.Series.objects.count() == 1000
        assert len(models.TouchedWindow.objects.get().hours) == 1000

    def test_makes_the_partitions_that_a_backfill_needs(self) -> None:
        moments = [NOW.replace(year=year, month=month, day=1) for year, month in ((2000, 1), (2003, 2), (2015, 12))]
        report = ingest(*(event(event_timestamp=moment) for moment in moments), allow_backfill=True)
        assert report.accepted == 3
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT tableoid::regclass::text FROM metering_event ORDER BY 1")
            assert [name for (name,) in cursor.fetchall()] == [
                "metering_event_2000_01",
                "metering_event_2003_02",
                "metering_event_2015_12",
            ]

    def test_finds_a_partition_at_any_present(self) -> None:
        for year in (2019, 2031):
            now = NOW.replace(year=year)
            ingest(
                event(event_timestamp=now - timedelta(days=90)),
                event(event_timestamp=now + timedelta(hours=1)),
                now=now,
            )
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM metering_event_default")
            assert cursor.fetchone() == (0,)

    def test_shows_a_forbidden_tenants_event_to_the_sender_alone(self) -> None:
        report = ingest(event(tenant_id="victim"), only_tenant_id="sender")
        assert report.errors[0].code == "tenant_forbidden"
        letter = models.DeadLetter.objects.get()
        assert letter.tenant_id == "sender"
        assert '"victim"' in letter.payload

    def test_is_undone_with_the_callers_transaction(self) -> None:
        sent = event()

        class Abandoned(Exception):
            pass

        def abandon() -> None:
            ingest(sent, event(event_timestamp=NOW - timedelta(days=200)), allow_backfill=True)
            raise Abandoned

        with pytest.raises(Abandoned), transaction.atomic():
            abandon()
        assert set(stored().values()) == {0}
        assert ingest(sent).accepted == 1

    def test_does_nothing_for_no_events(self) -> None:
        assert ingest().accepted == 0
        assert set(stored().values()) == {0}
