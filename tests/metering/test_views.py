"""Metering over HTTP: verdicts for each event, problems for what is no batch, and nothing of other tenants."""

import gzip
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import RequestFactory
from rest_framework.test import APIClient

from billing_site.kernel import clock, keys
from metering import aggregation, models, schemas
from metering.views import events
from tests.factories import kernel as kernel_factories
from tests.factories import metering as factories

pytestmark = pytest.mark.django_db

GOOD: Mapping[str, Any] = {"tenant_id": "acme", "event_type": "api_call", "idempotency_key": "k1", "quantity": 3}
USAGE = "/v1/usage?tenant_id=acme-corp&from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z"
client = kernel_factories.client


def post(body: Any, *, by: APIClient | None = None, **headers: str) -> Any:
    raw = body if isinstance(body, (str, bytes)) else json.dumps(body)
    options: dict[str, Any] = {"content_type": "application/json", **headers}
    return (by or client("events:write")).post("/v1/events", raw, **options)


def stored() -> list[int]:
    with connection.cursor() as cursor:
        found = []
        for table in ("event", "event_key", "series", "touched_window", "dead_letter"):
            cursor.execute(f"SELECT count(*) FROM metering_{table}")
            found.append(cursor.fetchone()[0])
        return found


def assert_refused(response: Any, status: int, code: str) -> None:
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json"), response.content
    problem = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == response["X-Request-Id"]
    assert stored() == [0] * 5


class TestPostEvents:
    def test_reads_past_a_body_that_is_too_large_so_that_its_connection_goes_on(self) -> None:
        _, secret = keys.create_api_key(name="tests", scopes=("events:write",), now=clock.now())
        request = RequestFactory().post(
            "/v1/events",
            b" " * (schemas.MAX_BODY_BYTES + 1_000_000),
            content_type="application/json",
            headers={"Authorization": f"Bearer {secret}"},
        )
        assert events.ingest_events(request).status_code == 413
        assert request.read() == b""

    def test_takes_one_event(self) -> None:
        response = post(GOOD)
        assert response.status_code == 200
        assert response["Content-Type"] == "application/json"
        assert response.json() == {"accepted": 1, "duplicates": 0, "rejected": 0, "errors": []}
        assert models.Event.objects.get().quantity == 3

    def test_answers_a_verdict_for_each_event(self) -> None:
        events: list[dict[str, Any]] = [{**GOOD, "idempotency_key": f"k{n}"} for n in range(1000)]
        events[10] = dict(events[9])
        events[412]["quantity"] = -1
        events[500] = {**events[499], "quantity": 4}
        response = post({"events": events}).json()
        assert (response["accepted"], response["duplicates"], response["rejected"]) == (997, 1, 2)
        assert [(error["index"], error["code"]) for error in response["errors"]] == [
            (412, "negative_quantity"),
            (500, "idempotency_conflict"),
        ]
        letter = models.DeadLetter.objects.get(pk=response["errors"][0]["dead_letter_id"])
        assert json.loads(letter.payload) == events[412]
        assert letter.tenant_id == "acme"

    def test_takes_gzip(self) -> None:
        response = post(gzip.compress(json.dumps({"events": [GOOD]}).encode()), HTTP_CONTENT_ENCODING="gzip")
        assert response.json()["accepted"] == 1

    def test_takes_gzip_of_several_members(self) -> None:
        raw = json.dumps(GOOD).encode()
        halves = gzip.compress(raw[:20]) + gzip.compress(raw[20:])
        assert post(halves, HTTP_CONTENT_ENCODING="gzip").json()["accepted"] == 1

    def test_ignores_the_idempotency_key_of_the_request(self) -> None:
        by = client("events:write")
        assert post(GOOD, by=by, HTTP_IDEMPOTENCY_KEY="once").json()["accepted"] == 1
        assert post(GOOD, by=by, HTTP_IDEMPOTENCY_KEY="once").json()["duplicates"] == 1
        other = {**GOOD, "idempotency_key": "k2"}
        assert post(other, by=by, HTTP_IDEMPOTENCY_KEY="once").json()["accepted"] == 1

    def test_counts_the_same_bad_event_in_one_dead_letter(self) -> None:
        bad = {**GOOD, "quantity": -1}
        first, second = (post(bad).json()["errors"][0]["dead_letter_id"] for _ in range(2))
        assert first == second
        assert models.DeadLetter.objects.get().count == 2

    def test_refuses_other_tenants_under_a_bound_key(self) -> None:
        by = client("events:write", tenant_id="acme")
        events = [GOOD, {**GOOD, "tenant_id": "victim"}]
        response = post({"events": events}, by=by).json()
        assert (response["accepted"], response["rejected"]) == (1, 1)
        assert response["errors"][0]["code"] == "tenant_forbidden"
        assert models.DeadLetter.objects.get().tenant_id == "acme"
        assert not models.Series.objects.filter(tenant_id="victim").exists()

    def test_takes_a_backfill_with_its_scope(self) -> None:
        old = {**GOOD, "event_timestamp": "2003-05-05T00:00:00Z"}
        by = client("events:write", "events:backfill")
        assert post({"events": [old], "backfill": True}, by=by).json()["accepted"] == 1
        assert post({"events": [{**old, "idempotency_key": "k2"}]}, by=by).json()["rejected"] == 1

    def test_refuses_a_backfill_without_its_scope(self) -> None:
        assert_refused(post({"events": [GOOD], "backfill": True}), 403, "forbidden")

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ("", 400, "empty_batch"),
            ("{}", 400, "empty_batch"),
            ({"events": []}, 400, "empty_batch"),
            ("{", 400, "invalid_json"),
            (b"\x00", 400, "invalid_json"),
            (b"\xff\xfe", 400, "invalid_json"),
            ('{"events": [NaN]}', 400, "invalid_json"),
            ("[]", 400, "invalid_batch"),
            ("5", 400, "invalid_batch"),
            ("null", 400, "invalid_batch"),
            ({"events": "many"}, 400, "invalid_batch"),
            ({"events": [GOOD], "tenant_id": "acme"}, 400, "invalid_batch"),
            ({"events": [GOOD], "backfill": 1}, 400, "invalid_batch"),
            ({"events": [GOOD] * 10_001}, 413, "too_many_events"),
            (b" " * (schemas.MAX_BODY_BYTES + 1), 413, "body_too_large"),
        ],
    )
    def test_refuses_what_is_no_batch(self, body: Any, status: int, code: str) -> None:
        assert_refused(post(body), status, code)

    def test_takes_a_body_of_exactly_the_limit(self) -> None:
        raw = json.dumps(GOOD).encode()
        assert post(raw + b" " * (schemas.MAX_BODY_BYTES - len(raw))).json()["accepted"] == 1

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (gzip.compress(b" " * (schemas.MAX_BODY_BYTES * 40)), 413, "body_too_large"),
            (gzip.compress(b" " * 6_000_000) * 2, 413, "body_too_large"),
            (gzip.compress(json.dumps(GOOD).encode())[:-6], 400, "invalid_encoding"),
            (gzip.compress(json.dumps(GOOD).encode()) + b"junk", 400, "invalid_encoding"),
            (b"not gzip", 400, "invalid_encoding"),
            (gzip.compress(b""), 400, "empty_batch"),
        ],
        ids=["one bomb", "two members", "cut short", "junk behind", "not gzip", "nothing inside"],
    )
    def test_refuses_gzip_that_is_none_or_too_much(self, body: bytes, status: int, code: str) -> None:
        assert_refused(post(body, HTTP_CONTENT_ENCODING="gzip"), status, code)

    @pytest.mark.parametrize("content_type", ["text/plain", "application/cloudevents+xml", "multipart/form-data"])
    def test_refuses_other_forms(self, content_type: str) -> None:
        assert_refused(post(GOOD, content_type=content_type), 415, "unsupported_media_type")

    def test_refuses_other_encodings(self) -> None:
        assert_refused(post(GOOD, HTTP_CONTENT_ENCODING="br"), 415, "unsupported_media_type")

    @pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Basic eDp5", "Bearer bk_test_unknown"])
    def test_refuses_who_has_no_key(self, authorization: str | None) -> None:
        by = APIClient()
        if authorization:
            by.credentials(HTTP_AUTHORIZATION=authorization)
        response = post(GOOD, by=by)
        assert_refused(response, 401, "unauthenticated")
        assert "Bearer" in response["WWW-Authenticate"]

    def test_refuses_a_key_without_the_scope(self) -> None:
        by = client("usage:read", "billing:write", "events:backfill")
        assert_refused(post(GOOD, by=by), 403, "forbidden")

    def test_refuses_parameters(self) -> None:
        response = client("events:write").post(
            "/v1/events?dry_run=1", json.dumps(GOOD), content_type="application/json"
        )
        assert_refused(response, 400, "invalid_request")
        assert response.json()["errors"][0]["pointer"] == "?dry_run"

    def test_survives_an_event_that_nests_without_end(self) -> None:
        raw = b'{"events":[' + json.dumps(GOOD).encode() + b',{"properties":' + b'{"a":' * 5000 + b"1" + b"}" * 5002
        assert post(raw[:-1] + b"]}").status_code in (200, 400)

    def test_says_which_methods_there_are(self) -> None:
        response = client().delete("/v1/events")
        assert response.status_code == 405
        assert response["Allow"] == "GET, POST"


class TestGetEvents:
    def test_shows_what_was_just_taken_in(self) -> None:
        post({**GOOD, "properties": {"region": "eu"}, "event_timestamp": clock.format_instant(clock.now())})
        (row,) = client("usage:read").get("/v1/events?tenant_id=acme").json()["data"]
        assert {**GOOD, "properties": {"region": "eu"}, "source": "api"}.items() <= row.items()
        assert row["created_at"].endswith("Z")

    def test_pages(self) -> None:
        factories.ingest_many(5)
        by = client("usage:read")
        first = by.get("/v1/events?tenant_id=acme-corp&limit=3").json()
        assert (len(first["data"]), first["has_more"]) == (3, True)
        rest = by.get(f"/v1/events?tenant_id=acme-corp&limit=3&cursor={first['next_cursor']}").json()
        assert (len(rest["data"]), rest["has_more"], rest["next_cursor"]) == (2, False, None)
        keys = {row["idempotency_key"] for row in first["data"] + rest["data"]}
        assert len(keys) == 5

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("", "?tenant_id"),
            ("tenant_id=a%20b", "?tenant_id"),
            ("tenant_id=a&limit=0", "?limit"),
            ("tenant_id=a&limit=101", "?limit"),
            ("tenant_id=a&cursor=nonsense", "?cursor"),
            ("tenant_id=a&cursor=MjAyNi0xMS0wMVQwMDowMDowMFp8eA==", "?cursor"),
            ("tenant_id=a&event_timestamp_gte=2026-11-01", "?event_timestamp_gte"),
            ("tenant_id=a&event_type=A", "?event_type"),
            ("tenant_id=a&colour=red", "?colour"),
            ("tenant_id=a&tenant_id=b", "?tenant_id"),
        ],
    )
    def test_refuses_a_bad_query(self, query: str, pointer: str) -> None:
        response = client("usage:read").get(f"/v1/events?{query}")
        assert response.status_code == 400
        assert pointer in [error["pointer"] for error in response.json()["errors"]]

    def test_hides_other_tenants(self) -> None:
        response = client("usage:read", tenant_id="acme").get("/v1/events?tenant_id=victim")
        assert response.status_code == 404

    def test_needs_its_scope(self) -> None:
        assert client("events:write").get("/v1/events?tenant_id=a").status_code == 403


class TestGetUsage:
    @pytest.fixture(autouse=True)
    def _usage(self) -> None:
        factories.ingest(
            *(
                factories.EventInFactory.build(event_timestamp=datetime(2026, 11, 20, hour, tzinfo=UTC), quantity=hour)
                for hour in (1, 2, 3)
            ),
            factories.EventInFactory.build(event_type="other"),
        )
        aggregation.aggregate_usage(now=factories.NOW)

    def test_answers_rows_and_how_fresh_they_are(self) -> None:
        before = clock.now() - timedelta(seconds=5)
        answer = client("usage:read").get(f"{USAGE}&event_type=api_call").json()
        assert answer["data"][0] == {
            "tenant_id": "acme-corp",
            "event_type": "api_call",
            "period_start": "2026-11-20T01:00:00Z",
            "period_end": "2026-11-20T02:00:00Z",
            "total_quantity": 1,
            "event_count": 1,
        }
        assert [row["total_quantity"] for row in answer["data"]] == [1, 2, 3]
        assert clock.parse_instant(answer["fresh_as_of"]) > before
        assert (answer["has_more"], answer["next_cursor"]) == (False, None)

    @pytest.mark.parametrize(
        ("query", "totals"),
        [
            ("granularity=day", [6, 1]),
            ("granularity=day&meter=api_call", [6]),
            ("granularity=month&event_type=other", [1]),
            ("granularity=hour&event_type=nothing", []),
        ],
    )
    def test_sums_by_granularity_and_meter(self, query: str, totals: list[int]) -> None:
        answer = client("usage:read").get(f"{USAGE}&{query}").json()
        assert [row["total_quantity"] for row in answer["data"]] == totals

    def test_pages(self) -> None:
        by = client("usage:read")
        first = by.get(f"{USAGE}&limit=3").json()
        rest = by.get(f"{USAGE}&limit=3&cursor={first['next_cursor']}").json()
        assert [len(first["data"]), len(rest["data"])] == [3, 1]
        assert rest["has_more"] is False

    def test_answers_for_all_of_time(self) -> None:
        rows = client("usage:read").get(
            "/v1/usage?tenant_id=acme-corp&from=0001-01-01T00:00:00Z&to=9999-12-31T23:30:00Z&granularity=month"
        )
        assert rows.status_code == 200
        assert sum(row["event_count"] for row in rows.json()["data"]) == 4

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("tenant_id=a", "?from"),
            ("tenant_id=a&from=2026-11-01T00:00:00Z", "?to"),
            ("from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z", "?tenant_id"),
            ("tenant_id=a&from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "?to"),
            ("tenant_id=a&from=x&to=2026-11-01T00:00:00Z", "?from"),
            ("tenant_id=a&from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z&granularity=week", "?granularity"),
            ("tenant_id=a&from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z&meter=b&event_type=b", "?meter"),
            ("tenant_id=a&from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z&group_by=x", "?group_by"),
        ],
    )
    def test_refuses_a_bad_query(self, query: str, pointer: str) -> None:
        response = client("usage:read").get(f"/v1/usage?{query}")
        assert response.status_code == 400
        assert pointer in [error["pointer"] for error in response.json()["errors"]]

    def test_hides_other_tenants(self) -> None:
        assert client("usage:read", tenant_id="other").get(USAGE).status_code == 404
        assert client("usage:read", tenant_id="acme-corp").get(USAGE).status_code == 200

    def test_needs_its_scope(self) -> None:
        assert client("billing:read").get(USAGE).status_code == 403


class TestDeadLetters:
    def test_lists_them_newest_first(self) -> None:
        letters = factories.DeadLetterFactory.create_batch(3)
        answer = client("usage:read").get("/v1/dead-letters?limit=2").json()
        assert [row["id"] for row in answer["data"]] == [letters[2].pk, letters[1].pk]
        assert answer["has_more"] is True
        assert answer["data"][0]["payload"] == {"tenant_id": "acme-corp", "quantity": -1}

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ("tenant_id=acme-corp", 1),
            ("code=wrong_type", 1),
            ("state=open", 2),
            ("first_seen_at_gte=2026-11-21T00:00:00Z", 0),
            ("last_seen_at_lt=2026-11-21T00:00:00Z", 2),
        ],
    )
    def test_filters(self, query: str, count: int) -> None:
        factories.DeadLetterFactory()
        factories.DeadLetterFactory(tenant_id="other", code="wrong_type")
        assert len(client("usage:read").get(f"/v1/dead-letters?{query}").json()["data"]) == count

    def test_gets_one_with_its_payload_as_sent(self) -> None:
        letter = factories.DeadLetterFactory(payload="{not json")
        answer = client("usage:read").get(f"/v1/dead-letters/{letter.pk}").json()
        assert answer["payload"] == "{not json"
        assert answer["code"] == "negative_quantity"

    def test_hides_other_tenants(self) -> None:
        letter = factories.DeadLetterFactory(tenant_id="victim")
        by = client("usage:read", tenant_id="acme")
        response = by.get(f"/v1/dead-letters/{letter.pk}")
        assert (response.status_code, response.json()["code"]) == (404, "dead_letter_not_found")
        assert by.get("/v1/dead-letters").json()["data"] == []
        assert by.get("/v1/dead-letters?tenant_id=victim").json()["data"] == []

    def test_refuses_an_unknown_filter(self) -> None:
        assert client("usage:read").get("/v1/dead-letters?colour=red").status_code == 400
        assert client("usage:read").get("/v1/dead-letters?state=lost").status_code == 400


class TestCorrections:
    def test_shows_an_event_and_what_corrects_it(self) -> None:
        now = clock.now()
        first = {**GOOD, "event_timestamp": (now - timedelta(days=2)).isoformat()}
        correction = {**GOOD, "idempotency_key": "k2", "corrects": "k1", "quantity": 5}
        void = {"tenant_id": "acme", "event_type": "api_call", "idempotency_key": "k3", "corrects": "k1", "void": True}
        assert post({"events": [first, correction, void]}).json()["accepted"] == 3
        for _ in range(2):  # before aggregation and after
            shown = client("usage:read").get("/v1/events?tenant_id=acme").json()["data"]
            assert sorted((e["idempotency_key"], e["corrects"], e["void"], e["quantity"]) for e in shown) == [
                ("k1", None, False, 3),
                ("k2", "k1", False, 5),
                ("k3", "k1", True, 0),
            ]
            aggregation.aggregate_usage(now=clock.now())
