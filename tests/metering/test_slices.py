"""Runs: which windows they take, in which order, what they set aside, and what they leave alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.urls import reverse

from metering import aggregation, hours, ingestion, models, quarantine, slices, usage
from tests.factories import metering as factories
from tests.support.threads import results, run_together

NOW = factories.NOW
HOUR = datetime(2026, 11, 20, 11, tzinfo=UTC)
event = factories.EventInFactory.build


def hourly() -> dict[tuple[str, str, datetime], int]:
    rows = models.UsageSummary.objects.filter(granularity="hour", group_key="")
    return {(row.tenant_id, row.meter, row.period_start): int(row.total) for row in rows}


@contextmanager
def poisoned(cursor: psycopg.Cursor, condition: str) -> Iterator[None]:
    """Summaries that meet the condition cannot be written."""
    cursor.execute(f"ALTER TABLE metering_usage_summary ADD CONSTRAINT poison CHECK (NOT ({condition})) NOT VALID")
    yield
    cursor.execute("ALTER TABLE metering_usage_summary DROP CONSTRAINT poison")


@pytest.mark.usefixtures("committed_db")
class TestQuarantine:
    def test_sets_a_poisoned_window_aside_and_goes_on(self, superuser_cursor: psycopg.Cursor) -> None:
        for n in range(40):
            factories.ingest_many(1, tenant_id=f"t{n}", event_timestamp=HOUR)
        with poisoned(superuser_cursor, "tenant_id IN ('t7', 't23') AND granularity = 'hour'"):
            report = aggregation.aggregate_usage(now=NOW)
        assert (report.quarantined, report.remaining, report.needs_person) == (2, 0, False)
        assert len(hourly()) == 38
        held = models.QuarantinedWindow.objects.all()
        assert {str(models.Series.objects.get(pk=window.series_id)) for window in held} == {
            "t7 api_call",
            "t23 api_call",
        }
        assert all("poison" in window.error for window in held)

    def test_is_not_fresh_beyond_what_it_holds_back(self, superuser_cursor: psycopg.Cursor) -> None:
        factories.ingest_many(1, event_timestamp=HOUR)
        started_at = models.TouchedWindow.objects.get().started_at
        factories.ingest_many(1, tenant_id="other", event_timestamp=HOUR)
        with poisoned(superuser_cursor, "tenant_id = 'acme-corp'"):
            aggregation.aggregate_usage(now=NOW)
        assert not models.TouchedWindow.objects.exists()
        assert models.QuarantinedWindow.objects.get().started_at == started_at
        assert usage.fresh_as_of() == started_at
        period: dict[str, Any] = {"period_start": HOUR, "period_end": NOW}
        assert usage.has_pending_windows(tenant_id="acme-corp", **period)
        assert not usage.has_pending_windows(tenant_id="other", **period)

    def test_tries_again_later_and_later_until_it_can(self, superuser_cursor: psycopg.Cursor) -> None:
        factories.ingest_many(1, quantity=5, event_timestamp=HOUR)
        now = NOW
        with poisoned(superuser_cursor, "tenant_id = 'acme-corp'"):
            waits = []
            for _ in range(5):
                aggregation.aggregate_usage(now=now)
                window = models.QuarantinedWindow.objects.get()
                waits.append(int((window.retry_at - now).total_seconds()))
                aggregation.aggregate_usage(now=window.retry_at - timedelta(seconds=1))  # too early
                now = window.retry_at
            assert waits == [60, 120, 240, 480, 960]
            assert window.attempts == 5
            # More events for the window: they wait with it, and do not make every slice fail.
            factories.ingest_many(1, quantity=2, event_timestamp=HOUR)
            assert aggregation.aggregate_usage(now=now - timedelta(seconds=1)).windows == 0
            assert models.QuarantinedWindow.objects.get().attempts == 5
        report = aggregation.aggregate_usage(now=now)
        assert report.quarantined == 0
        assert list(hourly().values()) == [7]
        assert models.UsageSummary.objects.get(granularity="month").total == 7

    def test_waits_for_a_person_at_last(self, superuser_cursor: psycopg.Cursor) -> None:
        factories.ingest_many(1, event_timestamp=HOUR)
        now = NOW
        with poisoned(superuser_cursor, "true"):
            report = aggregation.aggregate_usage(now=now)
            while not report.needs_person:
                now += quarantine.POLICY.maximum
                report = aggregation.aggregate_usage(now=now)
            assert models.QuarantinedWindow.objects.get().attempts == quarantine.POLICY.attempts
        assert aggregation.aggregate_usage(now=now + timedelta(days=9)).quarantined == 1
        assert quarantine.release(now=now) == 1
        report = aggregation.aggregate_usage(now=now)
        assert (report.quarantined, report.needs_person) == (0, False)

    def test_sets_aside_what_cannot_be_rolled_up(self, superuser_cursor: psycopg.Cursor) -> None:
        factories.ingest_many(1, event_timestamp=HOUR)
        factories.ingest_many(1, tenant_id="other", event_timestamp=HOUR)
        with poisoned(superuser_cursor, "tenant_id = 'acme-corp' AND granularity = 'month'"):
            report = aggregation.aggregate_usage(now=NOW)
            assert (report.quarantined, report.remaining) == (1, 0)
            assert len(hourly()) == 2
            assert models.UsageSummary.objects.filter(granularity="month").count() == 1
            aggregation.aggregate_usage(now=NOW + timedelta(minutes=1))
            assert models.QuarantinedWindow.objects.get().attempts == 2
        assert aggregation.aggregate_usage(now=NOW + timedelta(hours=1)).quarantined == 0
        assert models.UsageSummary.objects.filter(granularity="month").count() == 2

    def test_blames_no_window_when_all_fail(
        self, superuser_cursor: psycopg.Cursor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(quarantine, "_MOST_FAILURES", 5)
        events = [event(tenant_id=f"t{n}", event_timestamp=HOUR) for n in range(20)]
        factories.ingest(*events)
        with poisoned(superuser_cursor, "true"), pytest.raises(Exception, match="poison"):
            aggregation.aggregate_usage(now=NOW)
        assert not models.QuarantinedWindow.objects.exists()
        assert aggregation.aggregate_usage(now=NOW).windows == 20

    def test_blames_no_window_for_a_lock_that_was_not_got(self, superuser_cursor: psycopg.Cursor) -> None:
        factories.ingest_many(1, event_timestamp=HOUR)
        superuser_cursor.execute("BEGIN; LOCK TABLE metering_usage_summary IN EXCLUSIVE MODE")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        with pytest.raises(OperationalError):
            aggregation.aggregate_usage(now=NOW)
        superuser_cursor.execute("ROLLBACK")
        assert not models.QuarantinedWindow.objects.exists()
        assert aggregation.aggregate_usage(now=NOW).windows == 1


@pytest.mark.django_db
class TestRelease:
    """A person mended what made windows fail, and need not wait for their time."""

    def set_aside(self) -> models.QuarantinedWindow:
        factories.ingest_many(1, quantity=5, event_timestamp=HOUR)
        models.TouchedWindow.objects.all().delete()
        return models.QuarantinedWindow.objects.create(
            shard=0,
            series_id=models.Series.objects.get().pk,
            event_hour=hours.hour_of(HOUR),
            state=models.QuarantineState.STUCK,
            error="division by zero",
            started_at=NOW,
            first_failed_at=NOW,
            last_failed_at=NOW,
            retry_at=NOW,
        )

    def test_is_an_option_of_the_command(self) -> None:
        self.set_aside()
        with pytest.raises(SystemExit):
            call_command("aggregate_usage", "--json")
        call_command("aggregate_usage", "--json", "--retry-quarantined")
        assert list(hourly().values()) == [5]
        assert not models.QuarantinedWindow.objects.exists()

    @pytest.mark.parametrize("may", [True, False])
    def test_is_an_action_on_the_screen_for_those_who_may(self, client: Client, may: bool) -> None:  # noqa: FBT001
        window = self.set_aside()
        user = User.objects.create_user("finance", is_staff=True)
        allowed = ["view_quarantinedwindow", *(["change_quarantinedwindow"] if may else [])]
        user.user_permissions.set(Permission.objects.filter(codename__in=allowed))
        client.force_login(user)
        path = reverse("admin:metering_quarantinedwindow_changelist")
        assert "acme-corp api_call" in client.get(path).content.decode()
        client.post(path, {"action": "try_again", "_selected_action": [window.pk]})
        window.refresh_from_db()
        assert window.state == (models.QuarantineState.WAITING if may else models.QuarantineState.STUCK)


@pytest.mark.django_db
class TestBackfill:
    def test_counts_what_was_there_before_the_meter(self) -> None:
        for days in range(3):
            for tenant in ("a", "b"):
                factories.ingest_many(2, tenant_id=tenant, event_timestamp=HOUR - timedelta(days=days), quantity=3)
        aggregation.aggregate_usage(now=NOW)
        factories.make_meter("calls", aggregation="count")
        factories.make_meter("nothing", event_type="never_sent")
        report = aggregation.aggregate_usage(now=NOW)
        assert (report.backfilled, report.windows) == (6, 0)
        expected = {(tenant, HOUR - timedelta(days=days)) for days in range(3) for tenant in ("a", "b")}
        assert {(tenant, start) for tenant, meter, start in hourly() if meter == "calls"} == expected
        months = models.UsageSummary.objects.filter(meter="calls", granularity="month")
        assert sorted(months.values_list("tenant_id", "event_count")) == [("a", 6), ("b", 6)]
        assert models.MeterBackfill.objects.get().finished_at == NOW
        assert aggregation.aggregate_usage(now=NOW).backfilled == 0

    def test_goes_on_where_it_was_in_bounded_slices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for n in range(7):
            factories.ingest_many(1, tenant_id=f"t{n % 2}", event_timestamp=HOUR - timedelta(hours=n))
        aggregation.aggregate_usage(now=NOW)
        factories.make_meter("calls", aggregation="count")
        monkeypatch.setattr(slices, "_BACKFILL_WINDOWS", 2)
        monkeypatch.setattr(slices, "_BACKFILL_SLICES", 2)
        done = [aggregation.aggregate_usage(now=NOW).backfilled for _ in range(4)]
        assert done == [4, 3, 0, 0]
        assert sum(1 for _, meter, _ in hourly() if meter == "calls") == 7

    def test_holds_back_how_fresh_the_meter_is(self) -> None:
        factories.ingest_many(1, event_timestamp=HOUR)
        aggregation.aggregate_usage(now=NOW)
        factories.make_meter("calls", aggregation="count")
        backfill = models.MeterBackfill.objects.get()
        assert backfill.started_at == models.Series.objects.get().created_at
        period: dict[str, Any] = {"tenant_id": "acme-corp", "period_start": HOUR, "period_end": NOW}
        assert usage.has_pending_windows(meters=["calls"], **period)
        assert not usage.has_pending_windows(meters=["api_call"], **period)
        aggregation.aggregate_usage(now=NOW)
        assert not usage.has_pending_windows(meters=["calls"], **period)


@pytest.mark.django_db
class TestCatchingUp:
    def test_takes_bounded_slices_and_says_how_far_it_is(self) -> None:
        batches = 60
        for n in range(batches):
            factories.ingest_many(2, event_timestamp=HOUR - timedelta(hours=n), tenant_id=f"t{n % 3}")
        told: list[tuple[int, int | None, str]] = []
        report = aggregation.aggregate_usage(
            now=NOW + timedelta(days=5), slice_batches=7, progress=lambda *figures: told.append(figures)
        )
        assert (report.slices, report.windows, report.remaining) == (9, batches, 0)
        assert told[-1] == (batches, batches, "batches aggregated")
        assert [done for done, _, _ in told] == [*range(7, batches, 7), batches]
        assert sum(hourly().values()) == 2 * batches
        # Nine slices touched the same days and months; these were rolled up together at the end.
        assert report.rolled_up == models.UsageSummary.objects.exclude(granularity="hour").count()

    def test_ends_though_events_keep_coming(self, monkeypatch: pytest.MonkeyPatch) -> None:
        factories.ingest_many(1, event_timestamp=HOUR)

        def come(*_: Any) -> None:
            factories.ingest_many(1, event_timestamp=HOUR)

        report = aggregation.aggregate_usage(now=NOW, progress=come)
        assert (report.slices, report.remaining) == (1, 1)


@pytest.mark.usefixtures("committed_db")
class TestBesideOthers:
    @pytest.mark.parametrize("correction_commits_first", [False, True])
    def test_counts_a_correction_and_its_original_that_commit_unseen_by_each_other(
        self,
        correction_commits_first: bool,  # noqa: FBT001
    ) -> None:
        """
        Both look for the other before either has committed, so neither finds it: aggregation does.

        Two connections each hold a batch; a run between their commits must not count the correction by itself.
        """
        # As by writers before, so that neither waits for the other to make the series.
        factories.ingest(event(event_timestamp=HOUR - timedelta(days=9)))
        aggregation.aggregate_usage(now=NOW)
        original = event(idempotency_key="a", quantity=10, event_timestamp=HOUR)
        amendment = event(idempotency_key="b", corrects="a", quantity=4, event_timestamp=HOUR)
        first, second = (amendment, original) if correction_commits_first else (original, amendment)
        with transaction.atomic():
            factories.ingest(second)
            results(run_together([partial(factories.ingest, first)]))
            results(run_together([partial(aggregation.aggregate_usage, now=NOW)]))
            assert hourly().get(("acme-corp", "api_call", HOUR)) == (None if correction_commits_first else 10)
        assert models.Correction.objects.get().original_event_hour is None
        aggregation.aggregate_usage(now=NOW)
        assert hourly()[("acme-corp", "api_call", HOUR)] == 4

    def test_leaves_what_was_archived_and_dropped_as_it_was(self, superuser_cursor: psycopg.Cursor) -> None:
        september = datetime(2026, 9, 3, 5, tzinfo=UTC)
        factories.ingest_many(3, quantity=2, event_timestamp=september, now=september)
        aggregation.aggregate_usage(now=NOW)
        drop_month(superuser_cursor, september)
        aggregation.split_hour(tenant_id="acme-corp", at=september + timedelta(minutes=30), now=NOW)
        factories.make_meter("calls", aggregation="count")
        report = aggregation.aggregate_usage(now=NOW)
        assert (report.windows, report.changed, report.remaining) == (0, 0, 0)
        assert hourly() == {("acme-corp", "api_call", september): 6}
        assert models.MeterBackfill.objects.get().finished_at == NOW

    def test_waits_for_no_run_but_keeps_runs_out_of_what_must_not_happen_beside_them(self) -> None:
        factories.ingest_many(1, event_timestamp=HOUR)
        with transaction.atomic():
            aggregation.lock_shards()
            (report,) = results(run_together([partial(aggregation.aggregate_usage, now=NOW)]))
        assert (report.busy, report.slices) == (ingestion.SHARDS, 0)


def drop_month(cursor: psycopg.Cursor, month: datetime) -> None:
    """As archiving leaves it: no events, and a row that says so."""
    name = f"metering_event_{month:%Y_%m}"
    cursor.execute(f"ALTER TABLE metering_event DETACH PARTITION {name}")
    cursor.execute(f"DROP TABLE {name}")
    cursor.execute(
        "INSERT INTO metering_archived_month (month, sealed_at, event_count, quantity, digest, manifest_path,"
        " manifest_sha256, verified_at, dropped_at) VALUES (%s, now(), 3, 6, 0, '', '', now(), now())",
        [hours.month_of(hours.hour_of(month))],
    )
