"""Usage thresholds: reached once a period, told once, and refused at the door where that is asked for."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from billing_site.kernel import models as kernel
from metering import aggregation, errors, meters, models, tasks, thresholds
from tests.factories import kernel as clients
from tests.factories import metering as factories
from tests.support.threads import results, run_together

NOW = factories.NOW
MONTH, NEXT_MONTH = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


def fired(threshold: models.UsageThreshold, **values: Any) -> models.ThresholdFiring:
    defaults = {"period_start": MONTH, "period_end": NEXT_MONTH, "reached_quantity": 1_000, "fired_at": NOW}
    return models.ThresholdFiring.objects.create(
        threshold=threshold, tenant_id=threshold.tenant_id, **{**defaults, **values}
    )


@pytest.mark.django_db
class TestRefusedPairs:
    def test_names_the_pair_of_a_quota_that_is_used_up_and_why(self) -> None:
        threshold = factories.UsageThresholdFactory(action="refuse", quantity=1_000)
        assert thresholds.refused_pairs(now=NOW) == {}
        fired(threshold)
        ((pair, detail),) = thresholds.refused_pairs(now=NOW).items()
        assert pair == ("acme-corp", "api_call")
        assert detail == (
            "quota: 1,000 of 'api_call' a month was reached; more is refused until 2026-12-01T00:00:00Z "
            f"({threshold.pk})"
        )

    def test_ends_with_the_period(self) -> None:
        fired(factories.UsageThresholdFactory(action="refuse"))
        assert thresholds.refused_pairs(now=MONTH)
        assert thresholds.refused_pairs(now=NEXT_MONTH - timedelta(microseconds=1))
        assert thresholds.refused_pairs(now=NEXT_MONTH) == {}

    def test_leaves_alerts_and_what_was_deactivated_out(self) -> None:
        fired(factories.UsageThresholdFactory(action="alert"))
        fired(factories.UsageThresholdFactory(action="refuse", deactivated_at=NOW))
        assert thresholds.refused_pairs(now=NOW) == {}

    def test_tells_of_the_refusal_that_lasts_longest(self) -> None:
        day = factories.UsageThresholdFactory(action="refuse", period="day")
        month = factories.UsageThresholdFactory(action="refuse", period="month")
        fired(month)
        fired(day, period_start=datetime(2026, 11, 20, tzinfo=UTC), period_end=datetime(2026, 11, 21, tzinfo=UTC))
        (detail,) = thresholds.refused_pairs(now=NOW).values()
        assert month.pk in detail


def summarised(total: int, *, granularity: str = "month", **values: Any) -> models.UsageSummary:
    made: models.UsageSummary = factories.UsageSummaryFactory(
        total=total, granularity=granularity, **{"period_start": MONTH, **values}
    )
    return made


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def fire(now: datetime = NOW) -> int:
    return thresholds.fire_thresholds(now=now).fired


@pytest.mark.usefixtures("committed_db")
class TestFireThresholds:
    def test_fires_once_a_period_and_tells_of_it(self) -> None:
        threshold = factories.UsageThresholdFactory(quantity=1_000, action="refuse")
        summarised(1_000)
        assert thresholds.fire_thresholds(now=NOW) == thresholds.ThresholdsReport(active=1, fired=1)
        firing = models.ThresholdFiring.objects.get()
        assert (firing.threshold_id, firing.tenant_id) == (threshold.pk, "acme-corp")
        assert (firing.period_start, firing.period_end, firing.fired_at) == (MONTH, NEXT_MONTH, NOW)
        assert firing.reached_quantity == 1_000
        message = kernel.OutboxMessage.objects.get()
        assert (message.topic, message.tenant_id) == ("usage.threshold_reached", "acme-corp")
        assert message.reference_id == firing.pk
        assert message.payload == {
            "threshold_id": threshold.pk,
            "meter": "api_call",
            "quantity": 1_000,
            "reached_quantity": 1_000,
            "period": "month",
            "period_start": "2026-11-01T00:00:00Z",
            "period_end": "2026-12-01T00:00:00Z",
            "action": "refuse",
        }
        assert fire(NOW + timedelta(hours=1)) == 0
        assert kernel.OutboxMessage.objects.count() == 1

    def test_waits_for_the_last_unit(self) -> None:
        factories.UsageThresholdFactory(quantity=1_000)
        summarised(999)
        assert fire() == 0

    def test_fires_again_in_the_next_period(self) -> None:
        factories.UsageThresholdFactory(quantity=10)
        summarised(10)
        summarised(10, period_start=NEXT_MONTH)
        assert fire(NEXT_MONTH - timedelta(seconds=1)) == 1
        assert fire(NEXT_MONTH) == 1

    @pytest.mark.parametrize(
        ("period", "start", "end"),
        [
            ("hour", datetime(2026, 11, 20, 12, tzinfo=UTC), datetime(2026, 11, 20, 13, tzinfo=UTC)),
            ("day", datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)),
            ("month", MONTH, NEXT_MONTH),
        ],
    )
    def test_counts_per_hour_day_and_month(self, period: str, start: datetime, end: datetime) -> None:
        factories.UsageThresholdFactory(quantity=10, period=period)
        for granularity in models.Granularity.values:
            summarised(10 if granularity == period else 11, granularity=granularity, period_start=start)
            summarised(10, granularity=granularity, period_start=end)
        assert fire() == 1
        firing = models.ThresholdFiring.objects.get()
        assert [firing.period_start, firing.period_end, firing.reached_quantity] == [start, end, 10]

    def test_adds_up_the_parts_of_an_hour_that_is_split(self) -> None:
        factories.UsageThresholdFactory(quantity=10, period="hour")
        hour = datetime(2026, 11, 20, 12, tzinfo=UTC)
        summarised(6, granularity="hour", period_start=hour)
        summarised(4, granularity="hour", period_start=hour + timedelta(minutes=30))
        assert fire() == 1

    def test_sees_what_was_summarised_after_the_period_ended(self) -> None:
        factories.UsageThresholdFactory(quantity=10, created_at=MONTH, action="refuse")
        summarised(10)
        assert fire(NEXT_MONTH + timedelta(minutes=2)) == 1
        assert thresholds.refused_pairs(now=NEXT_MONTH + timedelta(minutes=2)) == {}

    def test_looks_at_no_period_that_ended_before_it_was_made(self) -> None:
        factories.UsageThresholdFactory(quantity=10, created_at=NEXT_MONTH)
        summarised(10)
        assert fire(NEXT_MONTH + timedelta(minutes=2)) == 0

    def test_leaves_other_tenants_other_meters_and_groups_out(self) -> None:
        factories.UsageThresholdFactory(quantity=10)
        summarised(10, tenant_id="other")
        summarised(10, meter="other")
        summarised(10, group_key='{"region": "eu"}')
        summarised(10, granularity="day")
        assert fire() == 0

    def test_leaves_what_was_deactivated_alone(self) -> None:
        factories.UsageThresholdFactory(quantity=10, deactivated_at=NOW)
        summarised(10)
        assert thresholds.fire_thresholds(now=NOW) == thresholds.ThresholdsReport(active=0, fired=0)

    def test_stays_fired_when_usage_is_voided_after_that(self) -> None:
        factories.UsageThresholdFactory(quantity=10, action="refuse")
        summary = summarised(10)
        fire()
        summary.total = Decimal(0)
        summary.save()
        assert fire() == 0
        assert thresholds.refused_pairs(now=NOW)

    @pytest.mark.parametrize(
        ("aggregation", "quantity"),
        [("sum", 100), ("count", 7), ("max", 60), ("average", 14), ("unique_count", 3), ("latest", 5)],
    )
    def test_counts_what_the_meter_counts(self, aggregation: str, quantity: int) -> None:
        models.Meter.objects.create(
            code="big", event_type="api_call", aggregation=aggregation, property="p", created_at=NOW
        )
        summarised(100, meter="big", event_count=7, maximum=60, unique_count=3, latest=5)
        reached = factories.UsageThresholdFactory(meter="big", event_type="api_call", quantity=quantity)
        factories.UsageThresholdFactory(meter="big", event_type="api_call", quantity=quantity + 1)
        assert fire() == 1
        firing = models.ThresholdFiring.objects.get()
        assert [firing.threshold_id, firing.reached_quantity] == [reached.pk, quantity]

    def test_fires_once_under_8_that_look_at_the_same_time(self) -> None:
        for quantity in range(1, 101):
            factories.UsageThresholdFactory(quantity=quantity)
        summarised(1_000)
        reports = results(run_together([partial(thresholds.fire_thresholds, now=NOW)] * 8))
        assert sum(report.fired for report in reports) == 100
        assert models.ThresholdFiring.objects.count() == kernel.OutboxMessage.objects.count() == 100

    def test_goes_on_slice_by_slice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(thresholds, "_SLICE", 3)
        for quantity in range(1, 9):
            factories.UsageThresholdFactory(quantity=quantity)
        summarised(8)
        assert fire() == 8

    @pytest.mark.parametrize("year", [1, 9999])
    def test_survives_the_ends_of_the_calendar(self, year: int) -> None:
        factories.UsageThresholdFactory()
        assert fire(datetime(year, 12 if year > 1 else 1, 31, 23, 59, tzinfo=UTC)) == 0

    def test_sums_what_came_in_and_stops_the_door(self) -> None:
        factories.UsageThresholdFactory(quantity=10, period="hour", action="refuse")
        factories.ingest_many(9)
        aggregation.aggregate_usage(now=NOW)
        assert fire() == 0
        factories.ingest_many(1)
        aggregation.aggregate_usage(now=NOW)
        assert fire() == 1
        assert list(thresholds.refused_pairs(now=NOW)) == [("acme-corp", "api_call")]

    @pytest.mark.parametrize("period", ["hour", "day", "month"])
    def test_counts_a_meter_of_its_own_from_the_events(self, period: str) -> None:
        meters.create_meter(
            code="Regions",
            event_type="api_call",
            aggregation_kind=models.Aggregation.UNIQUE_COUNT,
            property_name="region",
            filters={},
            group_by=[],
            now=NOW,
        )
        thresholds.create_threshold(
            tenant_id="acme-corp",
            meter="Regions",
            quantity=3,
            period=models.Granularity(period),
            action=models.ThresholdAction.REFUSE,
            now=NOW,
        )
        factories.ingest_many(5, properties={"region": "eu"})
        factories.ingest_many(5, properties={"region": "us"})
        aggregation.aggregate_usage(now=NOW)
        assert fire() == 0
        factories.ingest_many(1, properties={"region": "ap"})
        aggregation.aggregate_usage(now=NOW)
        assert fire() == 1
        assert models.ThresholdFiring.objects.get().reached_quantity == 3
        refused = thresholds.refused_pairs(now=NOW)
        report = factories.ingest(factories.EventInFactory.build(), refused_pairs=refused)
        assert [(verdict.code, verdict.detail) for verdict in report.errors] == [
            ("quota_exceeded", refused[("acme-corp", "api_call")])
        ]
        assert models.DeadLetter.objects.get().code == "quota_exceeded"

    def test_looks_into_the_index_of_summaries_and_not_through_them(self, owner_cursor: psycopg.Cursor) -> None:
        owner_cursor.execute(
            """
            INSERT INTO metering_usage_summary
                (tenant_id, meter, group_key, granularity, period_start, total, event_count, computed_at)
            SELECT 'tenant-' || tenant, 'api_call', '', 'hour', %(start)s::timestamptz + make_interval(hours => hour),
                1, 1, now()
            FROM generate_series(1, 200) AS tenant, generate_series(0, 199) AS hour
            """,
            {"start": MONTH},
        )
        owner_cursor.execute("ANALYZE metering_usage_summary")
        for tenant in range(20):
            factories.UsageThresholdFactory(tenant_id=f"tenant-{tenant}")
        now = list(thresholds._periods(NOW))
        with connection.cursor() as cursor:
            cursor.execute(
                f"EXPLAIN (FORMAT JSON) {thresholds.REACHED}",
                {
                    "periods": [period for period, _, _ in now],
                    "starts": [start for _, start, _ in now],
                    "ends": [end for _, _, end in now],
                    "limit": 500,
                },
            )
            plan = cursor.fetchone()[0]
        used = {node.get("Index Name") for node in nodes(plan[0]["Plan"])}
        assert "metering_usage_summary_is_one_per_window" in used
        assert (
            '"Seq Scan", "Parallel Aware": false, "Async Capable": false, "Relation Name": "metering_usage_s'
            not in plan
        )


@pytest.mark.django_db
class TestCreateThreshold:
    def create(self, **values: Any) -> models.UsageThreshold:
        defaults: dict[str, Any] = {
            "tenant_id": "acme-corp",
            "meter": "api_call",
            "quantity": 10,
            "period": models.Granularity.DAY,
            "action": models.ThresholdAction.REFUSE,
        }
        return thresholds.create_threshold(now=NOW, **{**defaults, **values})

    def test_refuses_one_that_says_the_same_as_an_active_one(self) -> None:
        first = self.create()
        with pytest.raises(errors.ThresholdExists) as refused:
            self.create()
        assert refused.value.extra == {"threshold_id": first.pk}
        self.create(quantity=11)
        thresholds.deactivate_threshold(threshold=first, now=NOW)
        assert self.create().pk != first.pk

    def test_refuses_a_name_that_no_meter_has(self) -> None:
        with pytest.raises(errors.UnknownMeter):
            self.create(meter="No such:meter")

    def test_knows_what_a_meter_counts(self) -> None:
        models.Meter.objects.create(code="Calls", event_type="api_call", aggregation="count", created_at=NOW)
        assert self.create(meter="Calls").event_type == "api_call"

    def test_only_alerts_on_a_meter_that_counts_some_events_of_a_type(self) -> None:
        models.Meter.objects.create(
            code="eu", event_type="api_call", aggregation="sum", filters={"region": ["eu"]}, created_at=NOW
        )
        with pytest.raises(errors.MeterNotRefusable):
            self.create(meter="eu")
        assert self.create(meter="eu", action=models.ThresholdAction.ALERT).event_type == "api_call"


class TestCreateThresholdAtOnce:
    def test_is_made_once_by_4(self, committed_db: str) -> None:
        create = partial(
            thresholds.create_threshold,
            tenant_id="acme-corp",
            meter="api_call",
            quantity=10,
            period=models.Granularity.DAY,
            action=models.ThresholdAction.ALERT,
            now=NOW,
        )
        outcomes = run_together([create] * 4)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ThresholdExists"] * 3 + ["UsageThreshold"]


class TestRows:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE metering_usage_threshold SET quantity = 5",
            "UPDATE metering_usage_threshold SET tenant_id = 'other'",
            "UPDATE metering_threshold_firing SET reached_quantity = 5",
            "DELETE FROM metering_threshold_firing",
        ],
    )
    def test_are_never_edited_by_their_owner_either(
        self, committed_db: str, owner_cursor: psycopg.Cursor, statement: str
    ) -> None:
        fired(factories.UsageThresholdFactory())
        with pytest.raises(psycopg.errors.CheckViolation):
            owner_cursor.execute(statement)

    def test_stay_deactivated(self, committed_db: str, owner_cursor: psycopg.Cursor) -> None:
        factories.UsageThresholdFactory(deactivated_at=NOW)
        with pytest.raises(psycopg.errors.CheckViolation):
            owner_cursor.execute("UPDATE metering_usage_threshold SET deactivated_at = NULL")


@pytest.mark.django_db
class TestApi:
    BODY: ClassVar[dict[str, Any]] = {
        "tenant_id": "acme-corp",
        "meter": "api_call",
        "quantity": 10,
        "period": "day",
        "action": "refuse",
    }

    def test_makes_reads_lists_and_deactivates(self) -> None:
        client = clients.client()
        made = client.post("/v1/usage-thresholds", self.BODY, format="json")
        assert made.status_code == 201, made.content
        threshold = made.json()
        assert threshold["id"].startswith("uth_")
        assert {name: threshold[name] for name in self.BODY} == self.BODY
        assert (threshold["active"], threshold["deactivated_at"]) == (True, None)
        address = f"/v1/usage-thresholds/{threshold['id']}"
        assert client.get(address).json() == threshold
        assert client.get("/v1/usage-thresholds?tenant_id=acme-corp&active=true").json()["data"] == [threshold]
        assert client.get("/v1/usage-thresholds?active=false").json()["data"] == []
        ended = client.post(f"{address}/deactivate", {}, format="json")
        assert (ended.status_code, ended.json()["active"]) == (200, False)
        assert client.post(f"{address}/deactivate", {}, format="json").json() == ended.json()
        assert client.get("/v1/usage-thresholds?active=false").json()["data"] == [ended.json()]

    def test_lists_when_it_was_reached(self) -> None:
        threshold = factories.UsageThresholdFactory()
        firing = fired(threshold)
        answer = clients.client("usage:read").get(f"/v1/usage-thresholds/{threshold.pk}/firings")
        assert answer.json()["data"] == [
            {
                "id": firing.pk,
                "threshold_id": threshold.pk,
                "tenant_id": "acme-corp",
                "period_start": "2026-11-01T00:00:00Z",
                "period_end": "2026-12-01T00:00:00Z",
                "reached_quantity": 1000,
                "fired_at": "2026-11-20T12:30:00Z",
            },
        ]

    def test_answers_409_with_the_one_that_is_there(self) -> None:
        client = clients.client()
        first = client.post("/v1/usage-thresholds", self.BODY, format="json").json()
        again = client.post("/v1/usage-thresholds", self.BODY, format="json")
        assert (again.status_code, again.json()["code"]) == (409, "usage_threshold_exists")
        assert again.json()["threshold_id"] == first["id"]

    @pytest.mark.parametrize(
        ("change", "pointer", "code"),
        [
            ({"quantity": 0}, "/quantity", "min_value"),
            ({"quantity": -1}, "/quantity", "min_value"),
            ({"quantity": 10**18 + 1}, "/quantity", "max_value"),
            ({"quantity": "10"}, "/quantity", "wrong_type"),
            ({"quantity": 1.0}, "/quantity", "wrong_type"),
            ({"quantity": True}, "/quantity", "wrong_type"),
            ({"quantity": None}, "/quantity", "null"),
            ({"period": "week"}, "/period", "invalid_choice"),
            ({"period": 5}, "/period", "wrong_type"),
            ({"period": {}}, "/period", "wrong_type"),
            ({"action": "delete"}, "/action", "invalid_choice"),
            ({"tenant_id": "no tenant"}, "/tenant_id", "invalid_code"),
            ({"meter": "x" * 101}, "/meter", "max_length"),
            ({"meter": "a\x00b"}, "/meter", "null_characters_not_allowed"),
            ({"amount_cents": 500}, "/amount_cents", "threshold_kind_not_taken"),
            ({"percent_of_commitment": 80}, "/percent_of_commitment", "threshold_kind_not_taken"),
        ],
    )
    def test_refuses_what_is_none(self, change: dict[str, Any], pointer: str, code: str) -> None:
        answer = clients.client().post("/v1/usage-thresholds", {**self.BODY, **change}, format="json")
        assert answer.status_code == 400, answer.content
        assert [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]] == [(pointer, code)]
        assert not models.UsageThreshold.objects.exists()

    def test_refuses_a_meter_that_is_none(self) -> None:
        answer = clients.client().post("/v1/usage-thresholds", {**self.BODY, "meter": "No:such"}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_meter")

    def test_shows_a_bound_key_its_own_tenant_alone(self) -> None:
        other = factories.UsageThresholdFactory(tenant_id="other")
        client = clients.client(tenant_id="acme-corp")
        assert client.get("/v1/usage-thresholds").json()["data"] == []
        assert client.get(f"/v1/usage-thresholds/{other.pk}").status_code == 404
        assert client.get(f"/v1/usage-thresholds/{other.pk}/firings").status_code == 404
        assert client.post(f"/v1/usage-thresholds/{other.pk}/deactivate", {}, format="json").status_code == 404
        answer = client.post("/v1/usage-thresholds", {**self.BODY, "tenant_id": "other"}, format="json")
        assert answer.status_code == 404

    def test_needs_a_scope_that_may_write(self) -> None:
        answer = clients.client("usage:read").post("/v1/usage-thresholds", self.BODY, format="json")
        assert answer.status_code == 403


class TestCommand:
    def test_says_what_it_did(self, committed_db: str) -> None:
        factories.UsageThresholdFactory(quantity=5)
        summarised(5)
        output = io.StringIO()
        call_command("fire_thresholds", "--json", "--as-of", "2026-11-20T12:00:00Z", stdout=output)
        assert json.loads(output.getvalue()) == {"as_of": "2026-11-20T12:00:00Z", "active": 1, "fired": 1}
        tasks.fire_thresholds()
        assert models.ThresholdFiring.objects.count() == 1
