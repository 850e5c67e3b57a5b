"""What the running period has used, and what that costs by the plan."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing_site.kernel import clock
from invoicing import current_usage, periods
from tests.factories import invoicing as factories
from tests.factories import kernel
from tests.factories import metering as metering_factories
from tests.factories.invoicing import DECEMBER, NOVEMBER
from tests.invoicing import usage

pytestmark = pytest.mark.django_db
NOON = NOVEMBER + timedelta(hours=12)
TIERED = {
    "meter": "api_call",
    "model": "graduated",
    "tiers": [{"up_to": 10, "unit_amount_cents": "3"}, {"up_to": None, "unit_amount_cents": "1"}],
}


def _current(tenant: Any, now: Any = NOON + timedelta(days=1)) -> current_usage.CurrentUsage:
    return current_usage.get_current_usage(tenant=tenant, now=now)


class TestGetCurrentUsage:
    def test_rates_what_is_used_so_far_by_the_plans_prices(self) -> None:
        tenant = factories.TenantFactory.create()
        factories.subscribe(tenant, factories.make_plan(TIERED, {**factories.PER_CALL, "meter": "tokens"}))
        usage.use(tenant.id, "api_call", 25, NOON)
        usage.use(tenant.id, "tokens", 7, NOON)
        usage.use(tenant.id, "api_call", 1000, NOVEMBER - timedelta(seconds=1))

        current = _current(tenant)

        (period,) = current.periods
        assert [(meter.meter, meter.quantity, meter.event_count, meter.amount_cents) for meter in period.meters] == [
            ("api_call", 25, 1, 45),
            ("tokens", 7, 1, 7),
        ]
        assert (current.amount_cents, current.currency) == (52, "USD")
        assert (period.period_start, period.period_end) == (NOVEMBER, DECEMBER)

    def test_is_of_the_period_that_runs_also_where_drafting_is_behind(self) -> None:
        tenant = factories.TenantFactory.create(time_zone="Asia/Kolkata")
        factories.subscribe(tenant, factories.make_plan(TIERED), starts_at=NOVEMBER)
        turns = NOVEMBER + timedelta(days=30) - timedelta(minutes=330)
        usage.use(tenant.id, "api_call", 1, turns - timedelta(seconds=1))
        usage.use(tenant.id, "api_call", 2, turns)

        (before,) = _current(tenant, turns - timedelta(microseconds=1)).periods
        (after,) = _current(tenant, turns).periods

        assert (before.period_end, before.meters[0].quantity) == (turns, 1)
        assert (after.period_start, after.meters[0].quantity) == (turns, 2)

    def test_tells_each_subscription_for_itself(self) -> None:
        tenant = factories.TenantFactory.create()
        for meter in ("api_call", "tokens"):
            factories.subscribe(tenant, factories.make_plan({**factories.PER_CALL, "meter": meter}))
            usage.use(tenant.id, meter, 5, NOON)

        current = _current(tenant)

        assert [[meter.meter for meter in period.meters] for period in current.periods] == [["api_call"], ["tokens"]]
        assert current.amount_cents == 10

    def test_has_no_period_before_the_start_and_none_without_a_subscription(self) -> None:
        tenant = factories.TenantFactory.create()
        assert _current(tenant).periods == []
        factories.subscribe(tenant, factories.make_plan(TIERED), starts_at=DECEMBER, now=NOVEMBER)
        assert _current(tenant).periods == []

    def test_rates_meters_of_every_kind(self) -> None:
        tenant = factories.TenantFactory.create()
        for code, kind in (("average", "average"), ("calls", "count"), ("peak", "max"), ("users", "unique_count")):
            metering_factories.make_meter(code, aggregation=kind, property="user" if code == "users" else "")
        prices = [{**factories.PER_CALL, "meter": code} for code in ("average", "calls", "peak", "users")]
        factories.subscribe(tenant, factories.make_plan(*prices))
        for quantity, user in ((10, "ann"), (15, "bob"), (10, "ann")):
            usage.use(tenant.id, "api_call", quantity, NOON, properties={"user": user})

        (period,) = _current(tenant).periods

        assert [(meter.meter, str(meter.quantity), meter.amount_cents) for meter in period.meters] == [
            ("average", "11.666666666667", 12),
            ("calls", "3", 3),
            ("peak", "15", 15),
            ("users", "2", 2),
        ]


class TestEndpoint:
    def test_answers_as_the_contract_says(self) -> None:
        tenant = factories.TenantFactory.create()
        today = periods.midnight_on_or_before(clock.now(), "UTC")
        subscription = factories.subscribe(tenant, factories.make_plan(TIERED, code="gold"), starts_at=today)
        for weight, milliseconds in ((2, 10), (3, 15)):
            usage.use(
                tenant.id, "api.request", weight, today, properties={"endpoint": "/x", "response_time_ms": milliseconds}
            )
        usage.use(tenant.id, "api_call", 3, today)
        usage.send(tenant.id, "api_call", 4, today)

        answer = kernel.client("usage:read").get(f"/v1/usage/current?tenant_id={tenant.id}").json()

        assert answer.pop("fresh_as_of") < clock.format_instant(clock.now())
        (period,) = answer.pop("periods")
        assert answer == {"tenant_id": tenant.id, "currency": "USD", "amount_cents": 9}
        assert period.pop("period_start") == clock.format_instant(today)
        assert period.pop("period_end") > clock.format_instant(today)
        assert period == {
            "subscription_id": subscription.id,
            "plan_code": "gold",
            "plan_version": 1,
            "meters": [{"meter": "api_call", "quantity": 3, "event_count": 1, "amount_cents": 9}],
            "request_count": 2,
            "billable_units": 5,
            "average_response_time_ms": "12.5",
            "amount_cents": 9,
        }

    def test_reads_no_events_in_a_bounded_number_of_statements(self) -> None:
        tenant = factories.TenantFactory.create(time_zone="Asia/Kathmandu")
        factories.subscribe(tenant, factories.make_plan(TIERED))
        usage.use(tenant.id, "api_call", 3, NOON)

        with CaptureQueriesContext(connection) as queries:
            _current(tenant)

        assert len(queries) < 12
        summaries = [query["sql"] for query in queries if "api_call" in query["sql"]]
        assert not any("metering_event " in sql for sql in summaries)

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("", 400),
            ("?tenant_id=", 400),
            ("?tenant_id=a%20b", 400),
            ("?tenant_id=nobody", 404),
            ("?tenant_id=a&x=1", 400),
        ],
    )
    def test_refuses_what_it_cannot_answer(self, query: str, status: int) -> None:
        answer = kernel.client("usage:read").get(f"/v1/usage/current{query}")

        assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")

    def test_is_not_there_for_anothers_key(self) -> None:
        tenant = factories.TenantFactory.create()
        bound = kernel.client("usage:read", tenant_id="somebody-else")

        assert bound.get(f"/v1/usage/current?tenant_id={tenant.id}").status_code == 404
