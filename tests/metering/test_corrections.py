"""Corrections at intake: what is refused, what is linked, and that none is lost between two writers."""

from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import transaction
from psycopg import errors as pg_errors

from billing_site.kernel import clock
from metering import aggregation, corrections, hours, ingestion, models, rules, schemas, usage
from tests.factories import metering as factories
from tests.support.threads import results, run_together

NOW = factories.NOW
THEN = NOW - timedelta(days=3)
event = factories.EventInFactory.build
ingest = factories.ingest


def original(**values: Any) -> schemas.EventIn:
    made: schemas.EventIn = event(**({"idempotency_key": "k", "quantity": 10, "event_timestamp": THEN} | values))
    return made


def amendment(quantity: int = 4, **values: Any) -> schemas.EventIn:
    named = {"idempotency_key": f"c{quantity}", "quantity": quantity, "corrects": "k"}
    made: schemas.EventIn = event(**(named | values))
    return made


def void(**values: Any) -> schemas.EventIn:
    return amendment(0, **({"void": True, "idempotency_key": "v"} | values))


def codes(report: ingestion.IngestReport) -> list[str]:
    return [verdict.code for verdict in report.errors]


def used(at: datetime = THEN, meter: str = "api_call") -> tuple[int, int]:
    """Total and count of the hour once all is aggregated; nothing where it has no events."""
    assert aggregation.aggregate_usage(now=NOW).remaining == 0
    start = hours.start_of(hours.hour_of(at))
    row = models.UsageSummary.objects.filter(
        meter=meter, group_key="", granularity=models.Granularity.HOUR, period_start=start
    ).first()
    return (int(row.total), row.event_count) if row else (0, 0)


@pytest.mark.django_db
class TestIntake:
    def test_counts_in_the_window_of_the_original_whatever_the_corrections_time(self) -> None:
        ingest(original())
        assert used() == (10, 1)
        assert ingest(amendment()).accepted == 1
        assert used() == (4, 1)
        assert used(NOW)[0] == 0

    def test_keeps_both_as_they_came(self) -> None:
        ingest(original())
        ingest(void(event_timestamp=None))
        first, second = models.Event.objects.order_by("event_timestamp")
        assert (first.quantity, first.corrects, first.void) == (10, None, False)
        assert (second.quantity, second.corrects, second.void) == (0, "k", True)
        correction = models.Correction.objects.get()
        assert (correction.correction_key_hash, correction.original_key_hash) == (second.key_hash, first.key_hash)
        assert (correction.series_id, correction.event_hour) == (second.series_id, second.event_hour)
        assert (correction.original_series_id, correction.original_event_hour) == (first.series_id, first.event_hour)

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    @pytest.mark.parametrize("batches", [1, 2])
    def test_minds_neither_order_nor_batch(self, order: tuple[int, int], batches: int) -> None:
        sent = [(original(), void())[place] for place in order]
        if batches == 1:
            assert ingest(*sent).accepted == 2
        else:
            for one in sent:
                assert ingest(one).accepted == 1
                aggregation.aggregate_usage(now=NOW)
        assert used()[0] == 0
        assert models.Correction.objects.get().original_event_hour == hours.hour_of(THEN)

    def test_takes_the_latest_of_several(self) -> None:
        ingest(original())
        ingest(amendment(4), amendment(6))
        assert used() == (6, 1)
        ingest(void(), now=NOW + timedelta(minutes=1))
        assert used()[0] == 0
        ingest(amendment(7), now=NOW + timedelta(minutes=2))
        assert used() == (7, 1)

    def test_takes_a_correction_again_as_a_duplicate(self) -> None:
        ingest(original())
        ingest(amendment())
        again = ingest(amendment())
        assert (again.accepted, again.duplicates, again.rejected) == (0, 1, 0)
        assert codes(ingest(amendment(idempotency_key="c4", corrects="other"))) == ["idempotency_conflict"]
        assert codes(ingest(void(idempotency_key="c4"))) == ["idempotency_conflict"]
        assert models.Correction.objects.count() == 1

    @pytest.mark.parametrize("together", [True, False])
    def test_refuses_to_correct_a_correction(self, *, together: bool) -> None:
        ingest(original())
        second = amendment(5, corrects="c4")
        if together:
            report = ingest(amendment(4), second)
        else:
            ingest(amendment(4))
            report = ingest(second)
        assert codes(report) == ["corrects_a_correction"]
        assert used() == (4, 1)
        assert models.Event.objects.count() == models.EventKey.objects.count() == 2

    @pytest.mark.parametrize("together", [True, False])
    def test_refuses_to_correct_another_type(self, *, together: bool) -> None:
        first, second = original(), amendment(event_type="other")
        if together:
            report = ingest(first, second)
        else:
            ingest(first)
            report = ingest(second)
        assert codes(report) == ["corrects_another_type"]
        assert "'api_call', not 'other'" in report.errors[0].detail
        assert models.DeadLetter.objects.get().pk == report.errors[0].dead_letter_id
        assert models.EventKey.objects.count() == 1

    def test_refuses_with_it_what_says_the_same(self) -> None:
        ingest(original())
        wrong = amendment(event_type="other")
        report = ingest(wrong, wrong, event())
        assert (report.accepted, report.duplicates, codes(report)) == (1, 0, ["corrects_another_type"] * 2)

    def test_corrects_nothing_of_another_tenant(self) -> None:
        ingest(original())
        assert ingest(void(tenant_id="other")).accepted == 1
        assert used() == (10, 1)
        assert models.Correction.objects.get().original_event_hour is None

    @pytest.mark.parametrize(
        ("late", "fault"),
        [
            (original(event_type="other"), "corrects_another_type"),
            (original(corrects="else", quantity=3), "corrects_a_correction"),
        ],
    )
    def test_tells_of_one_that_came_first_why_it_corrects_nothing(self, late: schemas.EventIn, fault: str) -> None:
        early = amendment()
        ingest(early)
        assert ingest(late).accepted == 1
        assert models.Correction.objects.get(correction_key_hash=hash_of("c4")).fault == fault
        assert ingest(early).duplicates == 1
        if late.corrects is None:
            assert used(meter="other") == (10, 1)

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            ({"void": True, "quantity": 0}, "invalid_correction"),
            ({"void": True, "quantity": 1, "corrects": "k"}, "invalid_correction"),
            ({"corrects": "a\x00b"}, "invalid_correction"),
            ({"corrects": ""}, "invalid_correction"),
            ({"corrects": "\ud800"}, "invalid_correction"),
            ({"corrects": "self", "idempotency_key": "self"}, "corrects_a_correction"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, sent: dict[str, Any], code: str) -> None:
        judged = rules.judge([event(**sent)], now=NOW, allow_backfill=False, only_tenant_id=None)
        assert [refused.code for refused in judged.refused] == [code]


def hash_of(key: str) -> str:
    return rules.hash_key(tenant_id="acme-corp", idempotency_key=key)


@pytest.mark.django_db
class TestQuota:
    """What is refused at the door is new usage; what is stored is told as ever."""

    refused_pairs = {("acme-corp", "api_call"): "1,000 of 1,000 api_call used in November"}

    def test_refuses_new_events_with_the_reason(self) -> None:
        report = ingest(event(), event(event_type="other"), refused_pairs=self.refused_pairs)
        assert (report.accepted, codes(report)) == (1, ["quota_exceeded"])
        assert "1,000 of 1,000" in report.errors[0].detail

    def test_tells_repeats_from_what_is_new(self) -> None:
        known = event(idempotency_key="known")
        ingest(known)
        report = ingest(known, event(idempotency_key="known", quantity=9), event(), refused_pairs=self.refused_pairs)
        assert (report.accepted, report.duplicates) == (0, 1)
        assert codes(report) == ["idempotency_conflict", "quota_exceeded"]
        assert models.Event.objects.count() == models.EventKey.objects.count() == 1

    def test_lets_a_void_pass_and_no_amendment(self) -> None:
        ingest(original())
        report = ingest(void(), amendment(11), refused_pairs=self.refused_pairs)
        assert (report.accepted, codes(report)) == (1, ["quota_exceeded"])


class TestArchivedMonths:
    def judge(self, *events: schemas.EventIn) -> rules.Judged:
        months = frozenset([date(2026, 10, 1)])
        return rules.judge(events, now=NOW, allow_backfill=False, only_tenant_id=None, archived_months=months)

    def test_take_nothing_new(self) -> None:
        judged = self.judge(event(event_timestamp=datetime.fromisoformat("2026-10-31T23:59:59Z")), event())
        ((_, refusal),) = judged.held.values()
        assert (refusal.code, len(judged.ready)) == ("period_archived", 1)


@pytest.mark.django_db
class TestRepeats:
    def test_are_counted_by_tenant_type_and_hour(self) -> None:
        sent = [event(idempotency_key=f"k{n}", event_timestamp=THEN if n < 3 else NOW) for n in range(5)]
        ingest(*sent)
        assert not models.RepeatedEvent.objects.exists()
        ingest(*sent, event(idempotency_key="k0", quantity=9), event(idempotency_key="k9"), sent[0])
        rows = models.RepeatedEvent.objects.order_by("event_hour").values_list("event_hour", "duplicates", "conflicts")
        changed = hours.hour_of(event().event_timestamp)
        assert changed == hours.hour_of(NOW)
        assert list(rows) == [(hours.hour_of(THEN), 4, 0), (hours.hour_of(NOW), 2, 1)]

    def test_of_one_batch_are_held_against_what_is_stored(self) -> None:
        stored, changed = event(idempotency_key="k"), event(idempotency_key="k", quantity=2)
        ingest(stored)
        report = ingest(changed, stored, changed)
        assert (report.accepted, report.duplicates, codes(report)) == (0, 1, ["idempotency_conflict"] * 2)


@pytest.mark.usefixtures("committed_db")
class TestTwoWriters:
    """Neither sees the other's rows before its commit; whichever commits last, the correction finds its original."""

    @pytest.mark.parametrize("first", [0, 1])
    @pytest.mark.parametrize("aggregates_between", [True, False])
    def test_lose_no_correction(self, *, first: int, aggregates_between: bool) -> None:
        ingest(event(event_timestamp=THEN), event())  # month and series are there
        sent = [original(), void()]
        with transaction.atomic():
            ingest(sent[first])
            results(run_together([lambda: ingest(sent[1 - first])]))
            if aggregates_between:
                results(run_together([lambda: aggregation.aggregate_usage(now=NOW)]))
        assert used() == (1, 1)
        assert models.Correction.objects.get().original_event_hour == hours.hour_of(THEN)

    def test_leave_nothing_to_bill_before_the_correction_is_linked(self) -> None:
        ingest(event(event_timestamp=THEN), event())  # month and series are there
        with transaction.atomic():
            ingest(amendment())  # in another day's hour
            results(run_together([lambda: ingest(original())]))
            results(run_together([lambda: aggregation.aggregate_usage(now=NOW)]))
        period = {"period_start": THEN, "period_end": THEN + timedelta(hours=1)}
        assert usage.has_pending_windows(tenant_id="acme-corp", meters=["api_call"], **period)
        assert not usage.has_pending_windows(tenant_id="acme-corp", meters=["other"], **period)
        aggregation.aggregate_usage(now=NOW)
        assert not usage.has_pending_windows(tenant_id="acme-corp", meters=["api_call"], **period)
        assert used() == (5, 2)

    def test_link_each_of_many_once(self) -> None:
        numbers = range(200)

        def write(kind: int) -> None:
            for n in numbers:
                at = THEN + timedelta(hours=n % 7)
                ingest(original(idempotency_key=f"k{n}", event_timestamp=at) if kind else voided(n))

        def voided(n: int) -> schemas.EventIn:
            return void(idempotency_key=f"v{n}", corrects=f"k{n}")

        def aggregate() -> None:
            for _ in range(60):
                aggregation.aggregate_usage(now=NOW)

        results(run_together([lambda: write(0), lambda: write(1), aggregate]))
        assert aggregation.aggregate_usage(now=NOW).remaining == 0
        assert models.Correction.objects.filter(original_event_hour=None).count() == 0
        hourly = models.UsageSummary.objects.filter(granularity=models.Granularity.HOUR)
        assert sum(hourly.values_list("total", flat=True)) == 0

    def test_look_only_for_corrections_that_a_batch_could_not_see(self) -> None:
        ingest(void())
        stored_by = models.Correction.objects.get().xid
        ingest(event(event_timestamp=THEN))
        # The number of the oldest transaction that runs anywhere in the cluster: other tests may hold it back.
        assert models.TouchedWindow.objects.filter(oldest_xid__isnull=True).count() == 0
        with transaction.atomic():
            assert corrections.link_pending(since=stored_by + 1) == []


@pytest.mark.usefixtures("committed_db")
class TestAppendOnly:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE metering_correction SET quantity = 3",
            "UPDATE metering_correction SET original_event_hour = original_event_hour + 1",
            "UPDATE metering_correction SET original_event_hour = NULL, original_series_id = NULL",
            "UPDATE metering_correction SET original_event_hour = NULL, original_series_id = NULL, fault = 'x'",
            "DELETE FROM metering_correction",
            "TRUNCATE metering_correction",
        ],
    )
    @pytest.mark.parametrize("role", ["origin", "replica"])
    def test_corrections_stay(self, statement: str, role: str, superuser_cursor: psycopg.Cursor) -> None:
        ingest(original(), amendment())
        superuser_cursor.execute(f"SET session_replication_role = {role}")
        with pytest.raises(pg_errors.CheckViolation) as raised:
            superuser_cursor.execute(statement)
        assert raised.value.diag.constraint_name == "metering_correction_is_append_only"

    @pytest.mark.parametrize("statement", ["UPDATE {} SET duplicates = 9", "DELETE FROM {}", "TRUNCATE {}"])
    def test_repeats_stay(self, statement: str, superuser_cursor: psycopg.Cursor) -> None:
        for _ in range(2):
            ingest(original(), now=clock.now(), allow_backfill=True)
        superuser_cursor.execute("SET session_replication_role = replica")
        with pytest.raises(pg_errors.CheckViolation) as raised:
            superuser_cursor.execute(statement.format("metering_repeated_event"))
        assert raised.value.diag.constraint_name == "metering_repeated_event_is_append_only"
