"""Meters over the API: made once, never changed, read by all."""

from typing import Any

import psycopg
import pytest
from django.db import transaction
from psycopg import errors as pg_errors
from rest_framework.test import APIClient

from metering import aggregation, errors, meters, models
from tests.factories import kernel
from tests.factories import metering as factories
from tests.support.threads import run_together

NOW = factories.NOW
TOKENS = {
    "code": "tokens",
    "event_type": "api_call",
    "aggregation": "sum",
    "property": "tokens",
    "filters": {"region": ["us", "eu"]},
    "group_by": ["tier", "region"],
}


@pytest.fixture
def client() -> APIClient:
    return kernel.client("billing:write", "usage:read")


def post(client: APIClient, body: dict[str, Any]) -> Any:
    return client.post("/v1/meters", body, format="json")


@pytest.mark.django_db
class TestApi:
    def test_makes_a_meter_and_reads_it(self, client: APIClient) -> None:
        response = post(client, TOKENS)
        assert response.status_code == 201, response.content
        body = response.json()
        assert body.pop("created_at").endswith("Z")
        assert body == {
            **TOKENS,
            "filters": {"region": ["eu", "us"]},
            "group_by": ["region", "tier"],
            "backfilled": True,
        }
        assert client.get("/v1/meters/tokens").json()["code"] == "tokens"

    def test_makes_the_simplest(self, client: APIClient) -> None:
        body = post(client, {"code": "calls", "event_type": "api_call", "aggregation": "count"}).json()
        assert (body["property"], body["filters"], body["group_by"]) == (None, {}, [])

    def test_lists_by_type_and_kind(self, client: APIClient) -> None:
        for code, event_type, kind in [("a", "x", "sum"), ("b", "x", "max"), ("c", "y", "sum")]:
            factories.make_meter(code, event_type=event_type, aggregation=kind)
        listed = client.get("/v1/meters?event_type=x").json()["data"]
        assert [meter["code"] for meter in listed] == ["b", "a"]
        assert [meter["code"] for meter in client.get("/v1/meters?aggregation=sum&limit=1").json()["data"]] == ["c"]

    def test_says_when_what_was_there_is_counted(self, client: APIClient) -> None:
        factories.ingest_many(1)
        aggregation.aggregate_usage(now=NOW)
        assert post(client, TOKENS).json()["backfilled"] is False
        aggregation.aggregate_usage(now=NOW)
        aggregation.aggregate_usage(now=NOW)
        assert client.get("/v1/meters/tokens").json()["backfilled"] is True

    def test_refuses_a_code_that_is_taken(self, client: APIClient) -> None:
        factories.ingest_many(1, event_type="api_call")
        post(client, TOKENS)
        for code, refusal in [("tokens", "meter_exists"), ("api_call", "meter_code_is_event_type")]:
            response = post(client, {**TOKENS, "code": code})
            assert (response.status_code, response.json()["code"]) == (409, refusal)

    def test_lets_a_key_that_is_bound_to_a_tenant_read_and_not_write(self) -> None:
        bound = kernel.client("billing:write", "usage:read", tenant_id="acme-corp")
        assert post(bound, TOKENS).json()["code"] == "meters_are_shared"
        factories.make_meter("tokens")
        assert bound.get("/v1/meters/tokens").status_code == 200

    def test_answers_404_for_none(self, client: APIClient) -> None:
        assert client.get("/v1/meters/none").json()["code"] == "meter_not_found"

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"code": "with space"}, "/code"),
            ({"code": None}, "/code"),
            ({"event_type": "UPPER"}, "/event_type"),
            ({"aggregation": "median"}, "/aggregation"),
            ({"aggregation": ["sum"]}, "/aggregation"),
            ({"aggregation": "count"}, "/property"),
            ({"property": ""}, "/property"),
            ({"property": "x" * 101}, "/property"),
            ({"property": "a\x00"}, "/property"),
            ({"filters": []}, "/filters"),
            ({"filters": {"region": "eu"}}, "/filters"),
            ({"filters": {"region": []}}, "/filters"),
            ({"filters": {"region": [1]}}, "/filters"),
            ({"filters": {"region": ["\x00"]}}, "/filters"),
            ({"filters": {"": ["a"]}}, "/filters"),
            ({"filters": {str(n): ["a"] for n in range(11)}}, "/filters"),
            ({"filters": {"region": ["x"] * 101}}, "/filters"),
            ({"group_by": ["a", "b", "c", "d"]}, "/group_by"),
            ({"group_by": ["a", "a"]}, "/group_by"),
            ({"group_by": [5]}, "/group_by/0"),
            ({"group_by": "region"}, "/group_by"),
        ],
    )
    def test_refuses_what_is_no_meter(self, client: APIClient, change: dict[str, Any], pointer: str) -> None:
        response = post(client, {**TOKENS, **change})
        assert response.status_code == 400, response.content
        assert pointer in {error["pointer"] for error in response.json()["errors"]}, response.json()
        assert not models.Meter.objects.exists()

    def test_needs_a_property_to_count_different_values_of(self, client: APIClient) -> None:
        response = post(client, {"code": "users", "event_type": "api_call", "aggregation": "unique_count"})
        assert response.json()["errors"][0]["pointer"] == "/property"


@pytest.mark.usefixtures("committed_db")
class TestCreateMeter:
    def test_makes_one_of_8_that_come_at_once(self) -> None:
        outcomes = run_together([lambda: factories.make_meter("calls", aggregation="count") for _ in range(8)])
        made = [outcome for outcome in outcomes if isinstance(outcome, models.Meter)]
        assert len(made) == 1
        assert all(isinstance(outcome, errors.MeterExists) for outcome in outcomes if outcome is not made[0])

    def test_misses_no_window_that_is_recomputed_while_it_is_made(self) -> None:
        """A run that began before the meter commits ends before, or comes after; what it did is counted again."""
        factories.ingest_many(3)
        with transaction.atomic():
            meters.create_meter(
                code="calls",
                event_type="api_call",
                aggregation_kind=models.Aggregation.COUNT,
                property_name="",
                filters={},
                group_by=[],
                now=NOW,
            )
            (report,) = run_together([lambda: aggregation.aggregate_usage(now=NOW)])
            assert getattr(report, "busy", None) == 1
        aggregation.aggregate_usage(now=NOW)
        assert models.UsageSummary.objects.get(meter="calls", granularity="hour").event_count == 3

    def test_never_changes(self, superuser_cursor: psycopg.Cursor) -> None:
        factories.make_meter("calls", aggregation="count")
        for statement in ("UPDATE metering_meter SET aggregation = 'sum'", "DELETE FROM metering_meter"):
            with pytest.raises(pg_errors.CheckViolation) as raised:
                superuser_cursor.execute(statement)
            assert raised.value.diag.constraint_name == "metering_meter_is_append_only"
