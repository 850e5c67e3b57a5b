"""Gateway records over HTTP, and what they add up to."""

import gzip
import json
from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from billing_site.kernel import clock
from metering import aggregation, models
from tests.factories import kernel as kernel_factories

pytestmark = pytest.mark.django_db
client = kernel_factories.client
NOW = clock.now()
HOUR = NOW.replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
RECORD: dict[str, Any] = {
    "request_id": "r1",
    "organization_id": "acme",
    "api_key_id": "key-1",
    "endpoint": "/v1/search",
    "method": "GET",
    "status_code": 200,
    "response_time_ms": 12.5,
    "billable": True,
    "weight": 3,
    "time": clock.format_instant(HOUR),
}


def post(body: Any, *, by: APIClient | None = None, **headers: str) -> Any:
    raw = body if isinstance(body, (str, bytes)) else json.dumps(body)
    options: dict[str, Any] = {"content_type": "application/json", **headers}
    return (by or client("events:write")).post("/v1/events/requests", raw, **options)


def take(*records: dict[str, Any]) -> None:
    events = [{**RECORD, "request_id": f"r{place}", **record} for place, record in enumerate(records)]
    assert post({"events": events}).json()["accepted"] == len(records)
    aggregation.aggregate_usage(now=NOW)


class TestPostRequests:
    def test_takes_one_record_as_an_event(self) -> None:
        response = post(RECORD)
        assert response.status_code == 200
        assert response.json() == {"accepted": 1, "duplicates": 0, "rejected": 0, "errors": []}
        event = models.Event.objects.get()
        assert (event.idempotency_key, event.quantity, event.source) == ("r1", 3, "gateway")
        assert event.event_timestamp == HOUR
        assert models.Series.objects.get().event_type == "api.request"
        assert event.properties == {
            "api_key_id": "key-1",
            "endpoint": "/v1/search",
            "method": "GET",
            "status_code": 200,
            "response_time_ms": 12.5,
            "billable": True,
        }

    def test_shows_what_is_not_billable_and_never_bills_it(self) -> None:
        take({}, {"billable": False, "weight": 50})
        by = client("usage:read")
        shown = by.get("/v1/events?tenant_id=acme&event_type=api.request").json()["data"]
        assert {row["quantity"]: row["properties"].get("weight") for row in shown} == {3: None, 0: 50}
        usage = by.get(f"/v1/usage?tenant_id=acme&event_type=api.request&{period()}").json()["data"]
        assert [(row["total_quantity"], row["event_count"]) for row in usage] == [(3, 2)]
        summary = models.RequestSummary.objects.get(granularity="hour")
        assert [summary.requests, summary.billable_requests, summary.units] == [2, 1, 3]

    def test_never_bills_it_through_the_other_door_either(self) -> None:
        event = {"tenant_id": "acme", "event_type": "api.request", "idempotency_key": "r1", "quantity": 50}
        for billable in (False, "false"):
            sent = event | {"idempotency_key": f"r{billable}", "properties": {"billable": billable}}
            answer = client("events:write").post("/v1/events", json.dumps(sent), content_type="application/json")
            assert answer.json()["accepted"] == 1
        assert {event.quantity for event in models.Event.objects.all()} == {0}
        assert {event.properties["weight"] for event in models.Event.objects.all()} == {50}
        aggregation.aggregate_usage(now=NOW)
        summary = models.RequestSummary.objects.get(granularity="hour")
        assert [summary.requests, summary.billable_requests, summary.units] == [2, 0, 0]

    def test_takes_what_only_says_whose_it_is(self) -> None:
        assert post({"request_id": "r1", "organization_id": "acme"}).json()["accepted"] == 1
        event = models.Event.objects.get()
        assert (event.quantity, event.properties) == (1, {"billable": True})

    def test_takes_a_batch_with_a_verdict_for_each(self) -> None:
        bad = {**RECORD, "request_id": "r2", "weight": -1}
        conflict = {**RECORD, "endpoint": "/v1/other"}
        response = post({"events": [RECORD, bad, RECORD, conflict]}).json()
        assert (response["accepted"], response["duplicates"], response["rejected"]) == (1, 1, 2)
        assert [(error["index"], error["code"]) for error in response["errors"]] == [
            (1, "negative_quantity"),
            (3, "idempotency_conflict"),
        ]
        letter = models.DeadLetter.objects.get(pk=response["errors"][0]["dead_letter_id"])
        assert (json.loads(letter.payload), letter.tenant_id) == (bad, "acme")

    @pytest.mark.parametrize("billable", [True, False])
    def test_is_one_with_the_other_door(self, *, billable: bool) -> None:
        record = RECORD | {"billable": billable}
        assert post(record).json()["accepted"] == 1
        event = {
            "tenant_id": "acme",
            "event_type": "api.request",
            "idempotency_key": "r1",
            "quantity": 3,
            "event_timestamp": RECORD["time"],
            "properties": {name: record[name] for name in ("api_key_id", "endpoint", "method", "status_code")}
            | {"response_time_ms": 12.5, "billable": billable},
        }
        answer = client("events:write").post("/v1/events", json.dumps(event), content_type="application/json").json()
        assert answer["duplicates"] == 1

    def test_takes_gzip(self) -> None:
        body = gzip.compress(json.dumps({"events": [RECORD]}).encode())
        assert post(body, HTTP_CONTENT_ENCODING="gzip").json()["accepted"] == 1

    def test_refuses_other_organizations_under_a_bound_key(self) -> None:
        response = post(RECORD, by=client("events:write", tenant_id="other")).json()
        assert [error["code"] for error in response["errors"]] == ["tenant_forbidden"]

    def test_takes_a_backfill_with_its_scope_alone(self) -> None:
        body = {"events": [{**RECORD, "time": "2003-05-05T00:00:00Z"}], "backfill": True}
        assert post(body).status_code == 403
        assert post(body, by=client("events:write", "events:backfill")).json()["accepted"] == 1

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"organization_id": "a b"}, "invalid_tenant_id"),
            ({"request_id": ""}, "invalid_idempotency_key"),
            ({"request_id": "x" * 256}, "invalid_idempotency_key"),
            ({"request_id": 5}, "wrong_type"),
            ({"weight": -1}, "negative_quantity"),
            ({"weight": 10**15 + 1}, "quantity_too_large"),
            ({"weight": 1.5}, "wrong_type"),
            ({"time": "yesterday"}, "invalid_timestamp"),
            ({"time": "2026-01-01T00:00:00"}, "invalid_timestamp"),
            ({"time": "2003-05-05T00:00:00Z"}, "timestamp_too_old"),
            ({"status_code": 99}, "invalid_properties"),
            ({"status_code": "200"}, "wrong_type"),
            ({"response_time_ms": -0.5}, "invalid_properties"),
            ({"response_time_ms": 1e12}, "invalid_properties"),
            ({"billable": 1}, "wrong_type"),
            ({"endpoint": "x" * 256}, "invalid_properties"),
            ({"endpoint": "a\x00b"}, "invalid_properties"),
            ({"tenant_id": "acme"}, "unknown_field"),
        ],
    )
    def test_refuses_a_record_that_breaks_a_rule(self, change: dict[str, Any], code: str) -> None:
        response = post({"events": [{**RECORD, "request_id": "good"}, {**RECORD, **change}]}).json()
        assert (response["accepted"], [error["code"] for error in response["errors"]]) == (1, [code])

    @pytest.mark.parametrize("name", ["request_id", "organization_id"])
    def test_refuses_a_record_without_its_name(self, name: str) -> None:
        response = post({field: value for field, value in RECORD.items() if field != name}).json()
        assert [error["code"] for error in response["errors"]] == ["missing_field"]

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ("", 400, "empty_batch"),
            ({"events": []}, 400, "empty_batch"),
            ("[1]", 400, "invalid_batch"),
            ("{", 400, "invalid_json"),
            ({"events": [RECORD], "more": 1}, 400, "invalid_batch"),
            ({"events": [RECORD] * 10_001}, 413, "too_many_events"),
        ],
    )
    def test_refuses_what_is_no_batch(self, body: Any, status: int, code: str) -> None:
        response = post(body)
        assert (response.status_code, response.json()["code"]) == (status, code)

    def test_says_which_method_there_is(self) -> None:
        response = client().get("/v1/events/requests")
        assert (response.status_code, response["Allow"]) == (405, "POST")
        assert response["Content-Type"] == "application/problem+json"


class TestGetTop:
    def test_answers_the_busiest_first(self) -> None:
        take(
            {"endpoint": "/a", "response_time_ms": 10},
            {"endpoint": "/b", "response_time_ms": 10},
            {"endpoint": "/b", "response_time_ms": 15, "status_code": 500},
            {"endpoint": "/b", "response_time_ms": None, "status_code": 404, "billable": False},
        )
        answer = client("usage:read").get("/v1/usage/top", {"tenant_id": "acme", **hours()}).json()
        assert answer["data"] == [
            {
                "tenant_id": "acme",
                "endpoint": "/b",
                "request_count": 3,
                "average_response_time_ms": "12.500",
                "error_count": 2,
                "client_error_count": 1,
                "server_error_count": 1,
            },
            {
                "tenant_id": "acme",
                "endpoint": "/a",
                "request_count": 1,
                "average_response_time_ms": "10.000",
                "error_count": 0,
                "client_error_count": 0,
                "server_error_count": 0,
            },
        ]
        assert (answer["has_more"], answer["next_cursor"]) == (False, None)
        assert clock.parse_instant(answer["fresh_as_of"]) >= NOW

    def test_pages(self) -> None:
        take(*({"endpoint": f"/{name}"} for name in "aabbcdd"))
        by = client("usage:read")
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            answer = by.get("/v1/usage/top", {"tenant_id": "acme", "limit": "1", **hours(), **cursor}).json()
            found += [row["endpoint"] for row in answer["data"]]
            if not answer["has_more"]:
                break
            cursor = {"cursor": answer["next_cursor"]}
        assert found == ["/a", "/b", "/d", "/c"]

    def test_tells_of_this_month_where_it_is_not_said(self) -> None:
        post({**RECORD, "time": clock.format_instant(NOW)})
        aggregation.aggregate_usage(now=NOW)
        answer = client("usage:read").get("/v1/usage/top?tenant_id=acme").json()
        assert [row["request_count"] for row in answer["data"]] == [1]

    def test_is_as_fresh_as_the_oldest_batch_that_is_not_counted(self) -> None:
        post(RECORD)
        answer = client("usage:read").get("/v1/usage/top?tenant_id=nobody").json()
        assert answer["data"] == []
        touched = models.TouchedWindow.objects.get()
        assert answer["fresh_as_of"] == clock.format_instant(touched.started_at)


class TestGetErrorRate:
    def test_answers_the_shares_of_each_hour(self) -> None:
        later = clock.format_instant(HOUR + timedelta(hours=1))
        take({"status_code": 404}, {"status_code": 503}, {}, {"time": later, "status_code": 499}, {"time": later})
        answer = client("usage:read").get("/v1/usage/error-rate", {"tenant_id": "acme", **hours()}).json()
        assert answer["data"][0] == {
            "tenant_id": "acme",
            "period_start": clock.format_instant(HOUR),
            "period_end": later,
            "request_count": 3,
            "client_error_count": 1,
            "server_error_count": 1,
            "client_error_rate": "0.333333",
            "server_error_rate": "0.333333",
        }
        assert [row["client_error_rate"] for row in answer["data"]] == ["0.333333", "0.500000"]

    def test_pages(self) -> None:
        later = clock.format_instant(HOUR + timedelta(hours=1))
        take({}, {"time": later})
        by = client("usage:read")
        first = by.get("/v1/usage/error-rate", {"tenant_id": "acme", "limit": "1", **hours()}).json()
        assert [row["period_start"] for row in first["data"]] == [clock.format_instant(HOUR)]
        rest = by.get(
            "/v1/usage/error-rate", {"tenant_id": "acme", "limit": "1", "cursor": first["next_cursor"], **hours()}
        ).json()
        assert ([row["period_start"] for row in rest["data"]], rest["has_more"]) == ([later], False)


@pytest.mark.parametrize("path", ["/v1/usage/top", "/v1/usage/error-rate"])
class TestQueries:
    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("", "?tenant_id"),
            ("tenant_id=a%20b", "?tenant_id"),
            ("tenant_id=a&limit=0", "?limit"),
            ("tenant_id=a&limit=1001", "?limit"),
            ("tenant_id=a&cursor=nonsense", "?cursor"),
            ("tenant_id=a&cursor=fA==", "?cursor"),
            ("tenant_id=a&cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTl8YQ==", "?cursor"),
            ("tenant_id=a&from=2026-11-01", "?from"),
            ("tenant_id=a&from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "?to"),
            ("tenant_id=a&colour=red", "?colour"),
            ("tenant_id=a&tenant_id=b", "?tenant_id"),
        ],
    )
    def test_refuse_what_is_wrong(self, path: str, query: str, pointer: str) -> None:
        response = client("usage:read").get(f"{path}?{query}")
        assert response.status_code == 400
        assert pointer in [error["pointer"] for error in response.json()["errors"]]

    @pytest.mark.parametrize("year", ["0001", "9999"])
    def test_reach_as_far_as_they_are_asked_to(self, path: str, year: str) -> None:
        period = f"from=0001-01-01T00:00:00Z&to={year}-12-31T00:00:00Z"
        assert client("usage:read").get(f"{path}?tenant_id=a&{period}").status_code == 200

    def test_hide_other_tenants(self, path: str) -> None:
        assert client("usage:read", tenant_id="acme").get(f"{path}?tenant_id=victim").status_code == 404

    def test_need_their_scope(self, path: str) -> None:
        assert client("events:write").get(f"{path}?tenant_id=a").status_code == 403


def hours() -> dict[str, str]:
    return {"from": clock.format_instant(HOUR), "to": clock.format_instant(HOUR + timedelta(hours=2))}


def period() -> str:
    return "&".join(f"{name}={value}" for name, value in hours().items())
