"""Usage that stands out from the days before: found once a day, by exact arithmetic, and seen by a person."""

import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_site.kernel import models as kernel
from metering import aggregation, anomalies, hours, models, outliers, tasks
from tests.factories import kernel as clients
from tests.factories import metering as factories
from tests.support.threads import results, run_together

DAY = datetime(2026, 11, 19, tzinfo=UTC)
NOW = datetime(2026, 11, 20, 2, 40, tzinfo=UTC)
EVEN = [100, 110, 90] * 10


def seed(totals: Sequence[int], *, granularity: str = "day", last: datetime = DAY, **values: Any) -> models.Series:
    """A series whose summaries end with ``last``, a day apart; zeros leave none."""
    named = {"tenant_id": "acme-corp", "event_type": "api_call", **values}
    series, _ = models.Series.objects.get_or_create(**named, defaults={"created_at": NOW})
    models.UsageSummary.objects.bulk_create(
        factories.UsageSummaryFactory.build(
            tenant_id=series.tenant_id,
            meter=series.event_type,
            granularity=granularity,
            period_start=last - timedelta(days=back),
            total=total,
        )
        for back, total in enumerate(reversed(totals))
        if total
    )
    return series


def detect(now: datetime = NOW, days: int = 1) -> anomalies.AnomaliesReport:
    return anomalies.detect_anomalies(now=now, days=days)


def found() -> models.UsageAnomaly:
    return models.UsageAnomaly.objects.get()


def left_behind(series: models.Series, hour: int, *, ago: timedelta = timedelta(hours=1)) -> models.TouchedWindow:
    """A batch that is not summarised, of some time ago by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp() - %s * interval '1 second'", [int(ago.total_seconds())])
        (started_at,) = cursor.fetchone()
    return models.TouchedWindow.objects.create(
        batch_id=1, shard=0, started_at=started_at, series_ids=[series.pk], hours=[hour]
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@pytest.mark.usefixtures("committed_db")
class TestDetectAnomalies:
    def test_finds_a_day_far_above_the_days_before_and_tells_of_it(self) -> None:
        seed([*EVEN, 500])
        assert detect() == anomalies.AnomaliesReport(series=1, found=1, waiting=0)
        anomaly = found()
        assert (anomaly.tenant_id, anomaly.event_type, anomaly.day) == ("acme-corp", "api_call", date(2026, 11, 19))
        assert (anomaly.kind, anomaly.state, anomaly.detected_at) == ("day_total", "open", NOW)
        assert (anomaly.window_start, anomaly.window_end) == (DAY, DAY + timedelta(days=1))
        assert [anomaly.observed_quantity, anomaly.expected_quantity, anomaly.history_days] == [500, 100, 30]
        # Ten each of 90, 100 and 110 about 100: a variance of 2000 / 29.
        assert [anomaly.deviation, anomaly.z_score] == [Decimal("8.304548"), Decimal("48.1664")]
        message = kernel.OutboxMessage.objects.get()
        assert (message.topic, message.tenant_id, message.reference_id) == (
            "usage.anomaly_detected",
            "acme-corp",
            anomaly.pk,
        )
        assert message.payload == {
            "anomaly_id": anomaly.pk,
            "event_type": "api_call",
            "day": "2026-11-19",
            "kind": "day_total",
            "window_start": "2026-11-19T00:00:00Z",
            "window_end": "2026-11-20T00:00:00Z",
            "observed_quantity": 500,
            "expected_quantity": "100.000000",
            "z_score": "48.1664",
        }

    def test_finds_it_once_however_often_it_looks(self) -> None:
        seed([*EVEN, 500])
        detect()
        assert detect().found == 0
        assert models.UsageAnomaly.objects.count() == kernel.OutboxMessage.objects.count() == 1

    def test_finds_a_drop_and_a_silence(self) -> None:
        seed([*EVEN, 20])
        seed([*EVEN, 0], event_type="silent")
        detect()
        drop, silence = models.UsageAnomaly.objects.order_by("event_type")
        assert [drop.observed_quantity, drop.z_score] == [20, Decimal("-9.6333")]
        assert [silence.observed_quantity, silence.z_score] == [0, Decimal("-12.0416")]

    def test_leaves_a_day_like_the_others_alone(self) -> None:
        seed([*EVEN, 124])
        assert detect().found == 0

    def test_counts_days_without_usage_as_zero(self) -> None:
        seed([50, *[0] * 13, 50])  # 50 on one day of fourteen is a mean of 3.57 and a deviation of 13.36
        assert detect().found == 1
        assert [found().history_days, found().expected_quantity] == [14, Decimal("3.571429")]
        assert found().z_score == Decimal("3.4744")

    def test_waits_for_two_weeks_of_history(self) -> None:
        seed([*[100, 90] * 6, 100, 500])
        assert detect().found == 0
        seed([*[100, 90] * 7, 500], event_type="older")
        assert detect().found == 1
        assert (found().event_type, found().history_days) == ("older", 14)

    def test_looks_30_days_back_and_no_further(self) -> None:
        seed([100_000, *EVEN, 500])
        assert detect().found == 1
        assert [found().history_days, found().expected_quantity] == [30, 100]

    @pytest.mark.parametrize(("total", "is_found"), [(100, False), (109, False), (110, True), (90, True), (91, False)])
    def test_finds_a_tenth_more_where_all_days_were_the_same(self, total: int, is_found: bool) -> None:  # noqa: FBT001
        seed([*[100] * 30, total])
        assert detect().found == is_found
        if is_found:
            assert [found().deviation, found().z_score, found().expected_quantity] == [0, None, 100]

    def test_leaves_a_few_units_alone_however_even_the_days_were(self) -> None:
        seed([*[1] * 30, 10])
        assert detect().found == 0

    def test_is_exact_for_totals_beyond_any_float(self) -> None:
        huge = 10**36
        seed([*[huge, huge + 1] * 15, huge * 2])
        detect()
        anomaly = found()
        assert anomaly.observed_quantity == 2 * huge
        assert anomaly.expected_quantity == Decimal(f"{huge}.5")
        assert anomaly.deviation == Decimal("0.508548")

    def test_tells_of_a_total_rather_than_of_an_hour_of_the_same_day(self) -> None:
        seed([*EVEN, 500])
        seed([*EVEN, 500], granularity="hour", last=DAY + timedelta(hours=5))
        assert detect().found == 1
        assert found().kind == "day_total"

    def test_judges_late_days_again(self) -> None:
        seed([*EVEN, 100])
        assert detect().found == 0
        models.UsageSummary.objects.filter(period_start=DAY).update(total=900)
        seed([100], last=DAY + timedelta(days=1))
        assert anomalies.detect_anomalies(now=NOW + timedelta(days=1)).found == 1
        assert found().day == date(2026, 11, 19)

    def test_leaves_what_is_not_summarised_for_later(self) -> None:
        series = seed([*EVEN, 0])
        other = seed([*EVEN, 0], event_type="quarantined")
        touched = left_behind(series, hours.hour_of(DAY) + 5)
        models.QuarantinedWindow.objects.create(
            shard=0,
            series_id=other.pk,
            event_hour=hours.hour_of(DAY) + 5,
            error="x",
            started_at=NOW,
            first_failed_at=NOW,
            last_failed_at=NOW,
            retry_at=NOW,
        )
        assert detect() == anomalies.AnomaliesReport(series=0, found=0, waiting=2)
        touched.delete()
        assert detect() == anomalies.AnomaliesReport(series=1, found=1, waiting=1)

    def test_waits_for_no_event_that_came_just_now(self) -> None:
        left_behind(seed([*EVEN, 500]), hours.hour_of(DAY) + 5, ago=timedelta(minutes=2))
        assert detect() == anomalies.AnomaliesReport(series=1, found=1, waiting=0)

    def test_goes_on_slice_by_slice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(anomalies, "_SLICE_SERIES", 2)
        for number in range(5):
            seed([*EVEN, 500], tenant_id=f"tenant-{number}")
        told: list[tuple[int, int]] = []
        report = anomalies.detect_anomalies(now=NOW, days=1, progress=lambda *figures: told.append(figures))
        assert (report.series, report.found) == (5, 5)
        assert told == [(2, 5), (4, 5), (5, 5)]

    def test_finds_once_under_8_that_look_at_the_same_time(self) -> None:
        for number in range(50):
            seed([*EVEN, 500], tenant_id=f"tenant-{number}")
        reports = results(run_together([partial(detect)] * 8))
        assert sum(report.found for report in reports) == 50
        assert models.UsageAnomaly.objects.count() == kernel.OutboxMessage.objects.count() == 50

    @pytest.mark.parametrize("year", [1, 9999])
    def test_survives_the_ends_of_the_calendar(self, year: int) -> None:
        seed(EVEN)
        assert detect(datetime(year, 1 if year == 1 else 12, 31, 23, 59, tzinfo=UTC)).found == 0

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.one_of(st.integers(0, 200), st.integers(95, 105)), min_size=14, max_size=30),
        st.one_of(st.integers(0, 400), st.just(10**20)),
    )
    def test_agrees_with_fractions(self, history: list[int], total: int) -> None:
        history[0] = history[0] or 1  # the first day has usage
        tenant_id = f"tenant-{models.Series.objects.count()}"
        seed([*history, total], tenant_id=tenant_id)
        detect()
        mean = Fraction(sum(history), len(history))
        squares = Fraction(sum(one * one for one in history))
        variance = (squares - len(history) * mean * mean) / (len(history) - 1)
        gap = abs(total - mean)
        expected = gap * gap >= 9 * variance and gap >= max(mean / 10, Fraction(10))
        anomaly = models.UsageAnomaly.objects.filter(tenant_id=tenant_id).first()
        assert (anomaly is not None) == expected
        if anomaly is not None:
            assert abs(Fraction(anomaly.expected_quantity) - mean) <= Fraction(1, 2_000_000)
            shown = Fraction(anomaly.deviation)
            assert abs(shown * shown - variance) <= Fraction(1, 1_000) + variance / 1_000
            assert (anomaly.z_score is None) == (variance == 0)


@pytest.mark.usefixtures("committed_db")
class TestDetectSpikes:
    HOUR = DAY + timedelta(hours=15)

    def seed(self, totals: Sequence[int], **values: Any) -> models.Series:
        """Hours of a day apart, in a series that has usage on all days."""
        series = seed([1_000] * 31, **values)
        seed(totals, granularity="hour", **{"last": self.HOUR, **values})
        return series

    def spikes(self, now: datetime = HOUR + timedelta(hours=1, minutes=12)) -> anomalies.AnomaliesReport:
        return anomalies.detect_spikes(now=now)

    def test_finds_an_hour_far_above_that_hour_of_the_days_before(self) -> None:
        self.seed([*EVEN, 500])
        assert self.spikes() == anomalies.AnomaliesReport(series=1, found=1, waiting=0)
        anomaly = found()
        assert (anomaly.kind, anomaly.day) == ("hour_spike", date(2026, 11, 19))
        assert (anomaly.window_start, anomaly.window_end) == (self.HOUR, self.HOUR + timedelta(hours=1))
        assert [anomaly.observed_quantity, anomaly.expected_quantity] == [500, 100]
        assert [anomaly.deviation, anomaly.z_score] == [Decimal("8.304548"), Decimal("48.1664")]
        assert kernel.OutboxMessage.objects.get().payload["kind"] == "hour_spike"

    def test_waits_until_the_hour_is_over(self) -> None:
        self.seed([*EVEN, 500])
        assert self.spikes(self.HOUR + timedelta(minutes=59)).found == 0
        assert self.spikes(self.HOUR + timedelta(hours=4)).found == 0
        assert self.spikes(self.HOUR + timedelta(hours=3, minutes=59)).found == 1

    def test_is_found_by_the_night_too(self) -> None:
        self.seed([*EVEN, 500])
        assert detect().found == 1

    def test_keeps_one_a_day_of_two_the_higher(self) -> None:
        self.seed([*EVEN, 500])
        self.seed([*EVEN, 900], last=self.HOUR + timedelta(hours=2), event_type="api_call", tenant_id="other")
        seed([*EVEN, 700], granularity="hour", last=self.HOUR - timedelta(hours=3))
        assert detect().found == 2
        assert found_of("acme-corp").observed_quantity == 700

    @pytest.mark.parametrize("total", [124, 199])
    def test_leaves_less_than_twice_the_mean_alone(self, total: int) -> None:
        self.seed([*EVEN, total])
        assert self.spikes().found == 0

    def test_leaves_what_other_hours_of_the_days_had_alone(self) -> None:
        self.seed([*EVEN, 500])
        seed([500], granularity="hour", last=self.HOUR - timedelta(days=20, hours=6))
        assert self.spikes().found == 0

    def test_finds_an_hour_that_never_had_usage_above_all_others(self) -> None:
        self.seed([500])
        assert self.spikes().found == 1
        assert [found().expected_quantity, found().z_score, found().history_days] == [0, None, 30]

    def test_leaves_a_few_units_alone(self) -> None:
        self.seed([9])
        assert self.spikes().found == 0

    def test_leaves_what_is_not_summarised_for_later(self) -> None:
        series = self.seed([*EVEN, 500])
        left_behind(series, hours.hour_of(self.HOUR))
        assert self.spikes() == anomalies.AnomaliesReport(series=0, found=0, waiting=1)


def found_of(tenant_id: str) -> models.UsageAnomaly:
    return models.UsageAnomaly.objects.get(tenant_id=tenant_id)


@pytest.mark.usefixtures("committed_db")
class TestFromEvents:
    def test_finds_a_day_in_what_came_in(self) -> None:
        for back in range(20, -1, -1):
            quantity = 1_000 if back == 0 else 100 + back % 3
            factories.ingest_many(
                1, now=NOW, quantity=quantity, event_timestamp=DAY - timedelta(days=back) + timedelta(hours=7)
            )
        aggregation.aggregate_usage(now=NOW)
        assert detect() == anomalies.AnomaliesReport(series=1, found=1, waiting=0)
        assert [found().observed_quantity, found().history_days] == [1_000, 20]


@pytest.mark.usefixtures("committed_db")
class TestPlans:
    def test_look_into_the_index_of_summaries_and_not_through_them(self, owner_cursor: psycopg.Cursor) -> None:
        owner_cursor.execute(
            "INSERT INTO metering_series (tenant_id, event_type, created_at)"
            " SELECT 'tenant-' || tenant, 'api_call', now() FROM generate_series(1, 300) AS tenant"
        )
        owner_cursor.execute(
            """
            INSERT INTO metering_usage_summary
                (tenant_id, meter, group_key, granularity, period_start, total, event_count, computed_at)
            SELECT 'tenant-' || tenant, 'api_call', '', granularity, %(start)s::timestamptz - step * width, 1, 1, now()
            FROM generate_series(1, 300) AS tenant
            CROSS JOIN (VALUES ('day', interval '1 day', 90), ('hour', interval '1 hour', 200))
                AS kept(granularity, width, n)
            CROSS JOIN LATERAL generate_series(0, n) AS step
            """,
            {"start": DAY},
        )
        owner_cursor.execute("ANALYZE")
        series = dict.fromkeys(models.Series.objects.values_list("pk", flat=True)[:100], date(2026, 8, 1))
        arguments: dict[str, Any] = {"series_ids": list(series), "first_days": list(series.values())}
        day_hours = [DAY + timedelta(hours=hour) for hour in range(24)]
        judged = {outliers.DAYS: {"windows": [DAY]}, outliers.HOURS: outliers._bounds(day_hours)}
        for statement, windows in judged.items():
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", {**outliers._LIMITS, **arguments, **windows})
                plan = cursor.fetchone()[0][0]["Plan"]
            scans = {
                (node["Node Type"], node.get("Index Name"))
                for node in nodes(plan)
                if node.get("Relation Name") == "metering_usage_summary" or node["Node Type"] == "Bitmap Index Scan"
            }
            assert ("Seq Scan", None) not in scans
            assert {name for _, name in scans} <= {
                "metering_usage_summary_is_one_per_window",
                "metering_series_pkey",
                None,
            }


@pytest.mark.django_db
class TestAcknowledge:
    @pytest.fixture
    def anomaly(self) -> models.UsageAnomaly:
        made: models.UsageAnomaly = factories.UsageAnomalyFactory()
        return made

    def test_notes_who_has_seen_it_first(self, anomaly: models.UsageAnomaly) -> None:
        assert anomalies.acknowledge(anomalies=[anomaly], by="ada", now=NOW) == 1
        assert anomalies.acknowledge(anomalies=[anomaly], by="bob", now=NOW) == 0
        anomaly.refresh_from_db()
        assert (anomaly.state, anomaly.acknowledged_by, anomaly.acknowledged_at) == ("acknowledged", "ada", NOW)

    def user(self, *permissions: str) -> Client:
        user = get_user_model().objects.create_user("ada", password="x" * 20, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client

    def test_is_an_action_of_the_screen(self, anomaly: models.UsageAnomaly) -> None:
        client = self.user("view_usageanomaly", "acknowledge_usageanomaly")
        address = "/admin/metering/usageanomaly/"
        assert "acknowledge" in client.get(address).content.decode()
        client.post(address, {"action": "acknowledge", "_selected_action": [anomaly.pk]})
        anomaly.refresh_from_db()
        assert (anomaly.state, anomaly.acknowledged_by) == ("acknowledged", "ada")

    def test_needs_its_permission(self, anomaly: models.UsageAnomaly) -> None:
        client = self.user("view_usageanomaly")
        client.post("/admin/metering/usageanomaly/", {"action": "acknowledge", "_selected_action": [anomaly.pk]})
        anomaly.refresh_from_db()
        assert anomaly.state == "open"

    @pytest.mark.parametrize("name", ["usageanomaly", "usagethreshold", "thresholdfiring"])
    @pytest.mark.parametrize("query", ["", "?q=acme-corp", "?q=x%27%00"])
    def test_stands_beside_screens_that_list_and_search(
        self, anomaly: models.UsageAnomaly, name: str, query: str
    ) -> None:
        threshold = factories.UsageThresholdFactory()
        models.ThresholdFiring.objects.create(
            threshold=threshold,
            tenant_id="acme-corp",
            period_start=DAY,
            period_end=NOW,
            reached_quantity=1,
            fired_at=NOW,
        )
        client = self.user("view_usageanomaly", "view_usagethreshold", "view_thresholdfiring")
        assert client.get(f"/admin/metering/{name}/{query}").status_code == 200


class TestRows:
    @pytest.mark.parametrize("change", ["observed_quantity = 5", "day = '2026-01-01'", "z_score = NULL, deviation = 0"])
    def test_are_never_edited_by_their_owner_either(
        self, committed_db: str, owner_cursor: psycopg.Cursor, change: str
    ) -> None:
        factories.UsageAnomalyFactory()
        with pytest.raises(psycopg.errors.CheckViolation):
            owner_cursor.execute(f"UPDATE metering_usage_anomaly SET {change}")

    def test_stay_acknowledged(self, committed_db: str, owner_cursor: psycopg.Cursor) -> None:
        anomalies.acknowledge(anomalies=[factories.UsageAnomalyFactory()], by="ada", now=NOW)
        with pytest.raises(psycopg.errors.CheckViolation):
            owner_cursor.execute(
                "UPDATE metering_usage_anomaly SET state = 'open', acknowledged_at = NULL, acknowledged_by = ''"
            )


@pytest.mark.django_db
class TestApi:
    def test_lists_findings(self) -> None:
        anomaly = factories.UsageAnomalyFactory()
        answer = clients.client("usage:read").get(
            "/v1/usage/anomalies?tenant_id=acme-corp&state=open&day_gte=2026-11-19"
        )
        assert answer.json()["data"] == [
            {
                "id": anomaly.pk,
                "tenant_id": "acme-corp",
                "event_type": "api_call",
                "day": "2026-11-19",
                "kind": "day_total",
                "window_start": "2026-11-19T00:00:00Z",
                "window_end": "2026-11-20T00:00:00Z",
                "observed_quantity": 500,
                "expected_quantity": "100.000000",
                "deviation": "8.304548",
                "z_score": "48.1664",
                "history_days": 30,
                "detected_at": "2026-11-20T02:40:00Z",
                "state": "open",
                "acknowledged_at": None,
                "acknowledged_by": "",
            },
        ]

    @pytest.mark.parametrize(
        "query", ["state=acknowledged", "kind=hour_spike", "day_lt=2026-11-19", "event_type=other", "tenant_id=other"]
    )
    def test_filters(self, query: str) -> None:
        factories.UsageAnomalyFactory()
        assert clients.client().get(f"/v1/usage/anomalies?{query}").json()["data"] == []

    @pytest.mark.parametrize("query", ["day_gte=yesterday", "day_gte=11/19/2026", "state=closed", "kind=x", "day=1"])
    def test_refuses_what_is_no_filter(self, query: str) -> None:
        assert clients.client().get(f"/v1/usage/anomalies?{query}").status_code == 400

    def test_shows_a_bound_key_its_own_tenant_alone(self) -> None:
        factories.UsageAnomalyFactory()
        assert clients.client(tenant_id="other").get("/v1/usage/anomalies").json()["data"] == []


@pytest.mark.usefixtures("committed_db")
class TestCommand:
    def test_says_what_it_did(self) -> None:
        seed([*EVEN, 500])
        output = io.StringIO()
        call_command("detect_anomalies", "--json", "--as-of", "2026-11-20T02:40:00Z", stdout=output)
        figures = {"as_of": "2026-11-20T02:40:00Z", "series": 1, "found": 1, "waiting": 0}
        assert json.loads(output.getvalue()) == figures

    @pytest.mark.parametrize("days", ["0", "-1", "32", "many"])
    def test_refuses_a_number_of_days_that_is_none(self, days: str) -> None:
        with pytest.raises(CommandError):
            call_command("detect_anomalies", f"--days={days}")

    def test_is_beats_tasks_too(self) -> None:
        tasks.detect_anomalies()
        tasks.detect_spikes()
        assert not models.UsageAnomaly.objects.exists()
