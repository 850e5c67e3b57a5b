"""What every view of the API stands on: keys, scopes, strict bodies and queries, pages, problems."""

import gzip
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from billing_site.kernel import keys, models
from tests.factories import kernel as factories

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.billing_site.kernel.sample")]
GOOD = {"tenant_id": "acme-corp", "topic": "invoice.paid"}


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["request_id"] == response["X-Request-Id"]
    assert {"type", "title", "detail"} <= set(body)
    return body


class TestKeys:
    @pytest.mark.parametrize(
        "header",
        [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer bk_test_unknown", "Bearer sk_test_x", "Bearer bk_\0"],
    )
    def test_answer_401_without_a_known_key(self, header: str | None) -> None:
        client = factories.client()
        client.credentials(**({} if header is None else {"HTTP_AUTHORIZATION": header}))
        response = client.get("/v1/messages")
        problem(response, 401, "unauthenticated")
        assert response["WWW-Authenticate"].startswith("Bearer")

    def test_are_stored_only_as_a_hash(self) -> None:
        key, secret = keys.create_api_key(name="x", scopes=["admin"], now=datetime(2026, 1, 1, tzinfo=UTC))
        assert re.fullmatch(r"bk_test_[A-Za-z0-9_-]{43}", secret)
        stored = models.ApiKey.objects.filter(pk=key.pk).values().get()
        assert secret not in str(stored)
        assert secret[len("bk_test_") + 8 :] not in str(stored)

    def test_answer_401_once_revoked(self) -> None:
        client = factories.client()
        assert client.get("/v1/messages").status_code == 200
        models.ApiKey.objects.update(revoked_at=datetime(2026, 1, 1, tzinfo=UTC))
        problem(client.get("/v1/messages"), 401, "unauthenticated")

    def test_answer_403_without_the_scope_and_name_it(self) -> None:
        body = problem(factories.client("billing:read").post("/v1/messages", GOOD, format="json"), 403, "forbidden")
        assert "billing:write" in body["detail"]
        assert models.OutboxMessage.objects.count() == 0

    def test_with_admin_carry_every_scope(self) -> None:
        assert factories.client("admin").get("/v1/figures?tenant_id=a").status_code == 200

    def test_bound_to_a_tenant_see_and_touch_it_alone(self) -> None:
        factories.OutboxMessageFactory.create(tenant_id="acme-corp")
        factories.OutboxMessageFactory.create(tenant_id="globex")
        client = factories.client(tenant_id="globex")
        assert [row["tenant_id"] for row in client.get("/v1/messages").json()["data"]] == ["globex"]
        problem(client.post("/v1/messages", GOOD, format="json"), 404, "not_found")

    @pytest.mark.parametrize("scopes", [[], ["events:read"], ["admin", "root"]])
    def test_are_refused_with_scopes_that_do_not_exist(self, scopes: list[str]) -> None:
        with pytest.raises(keys.InvalidScopes):
            keys.create_api_key(name="x", scopes=scopes, now=datetime(2026, 1, 1, tzinfo=UTC))


class TestBodies:
    @pytest.mark.parametrize(
        ("changes", "pointer", "code"),
        [
            ({"colour": 1}, "/colour", "unknown_field"),
            ({"topic": 5}, "/topic", "wrong_type"),
            ({"topic": "x" * 21}, "/topic", "max_length"),
            ({"topic": None}, "/topic", "null"),
            ({"tenant_id": "a b"}, "/tenant_id", "invalid_code"),
            ({"amount_cents": "5"}, "/amount_cents", "wrong_type"),
            ({"amount_cents": 5.0}, "/amount_cents", "wrong_type"),
            ({"amount_cents": True}, "/amount_cents", "wrong_type"),
            ({"amount_cents": -1}, "/amount_cents", "min_value"),
            ({"currency": "usd"}, "/currency", "unknown_currency"),
            ({"at": "2026-11-01"}, "/at", "invalid_time"),
            ({"at": 1790000000}, "/at", "wrong_type"),
            ({"urgent": "true"}, "/urgent", "wrong_type"),
            ({"metadata": {"a": 1}}, "/metadata", "invalid_pair"),
            ({"metadata": {str(n): "" for n in range(51)}}, "/metadata", "too_many"),
            ({"tiers": [{"up_to": 1}, {"up_to": 0}]}, "/tiers/1/up_to", "min_value"),
            ({"tiers": [{"up_to": 1, "rate": 2}]}, "/tiers/0/rate", "unknown_field"),
            ({"tiers": [{"up_to": 1, "unit_amount_cents": 0.5}]}, "/tiers/0/unit_amount_cents", "wrong_type"),
            ({"tiers": [{"up_to": 1, "unit_amount_cents": "1e3"}]}, "/tiers/0/unit_amount_cents", "invalid_rate"),
            ({"tiers": ["x"]}, "/tiers/0", "wrong_type"),
        ],
    )
    def test_name_the_field_and_the_rule_and_store_nothing(
        self,
        changes: dict[str, Any],
        pointer: str,
        code: str,
    ) -> None:
        response = factories.client().post("/v1/messages", {**GOOD, **changes}, format="json")
        body = problem(response, 400, "invalid_request")
        assert [(error["pointer"], error["code"]) for error in body["errors"]] == [(pointer, code)]
        assert body["errors"][0]["detail"]
        assert models.OutboxMessage.objects.count() == 0

    def test_escape_names_in_pointers(self) -> None:
        sent = {**GOOD, "a/b~c": 1, "tiers": [{"up_to": 1, "x/y": 1}]}
        body = problem(factories.client().post("/v1/messages", sent, format="json"), 400, "invalid_request")
        assert {error["pointer"] for error in body["errors"]} == {"/a~1b~0c", "/tiers/0/x~1y"}

    def test_name_every_fault_at_once(self) -> None:
        response = factories.client().post("/v1/messages", {"topic": 1, "colour": 2}, format="json")
        body = problem(response, 400, "invalid_request")
        assert {error["pointer"] for error in body["errors"]} == {"/tenant_id", "/topic", "/colour"}

    @pytest.mark.parametrize("raw", ["", "{", "[1]", '"x"', "null", '{"tenant_id": NaN}', b"\xff\xfe"])
    def test_that_are_no_json_object_are_a_400(self, raw: str | bytes) -> None:
        response = factories.client().post("/v1/messages", raw, content_type="application/json")
        problem(response, 400, "invalid_request")

    def test_in_another_form_are_a_415(self) -> None:
        response = factories.client().post("/v1/messages", "a=b", content_type="application/x-www-form-urlencoded")
        problem(response, 415, "unsupported_media_type")

    def test_over_the_limit_are_a_413(self) -> None:
        raw = '{"topic": "' + "x" * (9 * 1024 * 1024) + '"}'
        problem(factories.client().post("/v1/messages", raw, content_type="application/json"), 413, "body_too_large")

    def test_in_gzip_where_it_is_not_taken_are_a_400(self) -> None:
        response = factories.client().post(
            "/v1/messages",
            gzip.compress(b"{}"),
            content_type="application/json",
            HTTP_CONTENT_ENCODING="gzip",
        )
        problem(response, 400, "invalid_request")


class TestQueries:
    @pytest.mark.parametrize(
        ("path", "pointer", "code"),
        [
            ("/v1/messages?colour=red", "?colour", "unknown_parameter"),
            ("/v1/messages?topic=a&topic=b", "?topic", "repeated_parameter"),
            ("/v1/messages?created_at_gte=yesterday", "?created_at_gte", "invalid"),
            ("/v1/messages?limit=0", "?limit", "out_of_range"),
            ("/v1/messages?limit=101", "?limit", "out_of_range"),
            ("/v1/messages?limit=ten", "?limit", "out_of_range"),
            ("/v1/messages?cursor=nonsense", "?cursor", "invalid_cursor"),
            ("/v1/messages?cursor=", "?cursor", "invalid_cursor"),
            ("/v1/messages?cursor=bm9w", "?cursor", "invalid_cursor"),
            ("/v1/messages?cursor=cD0lMDA=", "?cursor", "invalid_cursor"),
            ("/v1/messages?format=json", "?format", "unknown_parameter"),
            ("/v1/figures", "?tenant_id", "required"),
            ("/v1/figures?tenant_id=a&colour=red", "?colour", "unknown_parameter"),
            ("/v1/figures?tenant_id=a&at=2026", "?at", "invalid_time"),
        ],
    )
    def test_name_the_parameter_and_the_rule(self, path: str, pointer: str, code: str) -> None:
        body = problem(factories.client().get(path), 400, "invalid_request")
        assert [(error["pointer"], error["code"]) for error in body["errors"]] == [(pointer, code)]

    def test_on_a_post_are_refused(self) -> None:
        response = factories.client().post("/v1/messages?dry_run=1", GOOD, format="json")
        problem(response, 400, "invalid_request")
        assert models.OutboxMessage.objects.count() == 0


class TestPages:
    def test_come_newest_first_and_end(self) -> None:
        made = [factories.OutboxMessageFactory.create().pk for _ in range(5)]
        client = factories.client()
        seen: list[str] = []
        cursor = ""
        for has_more in (True, True, False):
            page = client.get(f"/v1/messages?limit=2{cursor}").json()
            assert set(page) == {"data", "has_more", "next_cursor"}
            assert page["has_more"] is has_more
            seen += [row["id"] for row in page["data"]]
            cursor = f"&cursor={page['next_cursor']}"
        assert page["next_cursor"] is None
        assert seen == made[::-1]

    @pytest.mark.urls("billing_site.urls")
    @pytest.mark.parametrize("path", ["/v1/tenants", "/v1/ledger/accounts"])
    def test_refuse_a_place_that_is_no_value_of_their_order(self, path: str) -> None:
        body = problem(factories.client().get(f"{path}?cursor=cD1hYmM="), 400, "invalid_request")
        assert [error["pointer"] for error in body["errors"]] == ["?cursor"]

    def test_are_filtered_by_ranges(self) -> None:
        for day in (1, 2, 3):
            factories.OutboxMessageFactory.create(created_at=datetime(2026, 1, day, tzinfo=UTC))
        answer = factories.client().get(
            "/v1/messages",
            {"created_at_gte": "2026-01-02T00:00:00Z", "created_at_lt": "2026-01-03T00:00:00Z"},
        )
        assert [row["created_at"] for row in answer.json()["data"]] == ["2026-01-02T00:00:00Z"]


class TestProblems:
    def test_tell_the_state_that_won(self) -> None:
        response = factories.client().post("/v1/messages", {**GOOD, "topic": "refused"}, format="json")
        assert problem(response, 409, "conflict")["state"] == "paid"
        assert models.OutboxMessage.objects.count() == 0

    def test_of_ours_tell_nothing_of_the_inside(self) -> None:
        response = factories.client().post("/v1/messages", {**GOOD, "topic": "broken"}, format="json")
        body = problem(response, 500, "internal_error")
        assert "a fault of ours" not in str(body)

    def test_answer_unknown_addresses_and_methods(self) -> None:
        problem(factories.client().get("/v1/nothing"), 404, "not_found")
        problem(factories.client().delete("/v1/messages"), 405, "method_not_allowed")

    def test_carry_the_callers_request_id_when_it_is_well_formed(self) -> None:
        client = factories.client()
        assert client.get("/v1/messages", HTTP_X_REQUEST_ID="abc-1")["X-Request-Id"] == "abc-1"
        assert client.get("/v1/messages", HTTP_X_REQUEST_ID="a b\r\n")["X-Request-Id"].startswith("req_")


class TestHealth:
    def test_is_alive_without_a_key(self) -> None:
        client = factories.client()
        client.credentials()
        assert client.get("/healthz").json() == {"status": "ok"}

    def test_is_ready_with_database_and_broker(self) -> None:
        assert factories.client().get("/readyz").json() == {"status": "ok", "database": "ok", "broker": "ok"}

    def test_is_not_ready_without_a_broker(self, settings: Any) -> None:
        settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
        response = factories.client().get("/readyz")
        assert response.status_code == 503
        assert response.json() == {"status": "unavailable", "database": "ok", "broker": "ConnectionError"}
