"""Closing, reopening and listing periods over HTTP."""

from typing import Any

import pytest

from ledger import models
from tests.factories.kernel import client

pytestmark = pytest.mark.django_db

SEPTEMBER = {"period_start": "2026-09-01T00:00:00Z", "period_end": "2026-10-01T00:00:00Z", "reason": "month end"}
OCTOBER = {"period_end": "2026-11-01T00:00:00Z", "reason": "month end"}


def send(verb: str, body: dict[str, Any], *scopes: str, tenant_id: str = "", **headers: str) -> Any:
    caller = client(*(scopes or ("ledger:write",)), tenant_id=tenant_id)
    return caller.post(f"/v1/ledger/periods/{verb}", body, format="json", headers=headers)


def done(verb: str, body: dict[str, Any]) -> dict[str, Any]:
    response = send(verb, body)
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    return body


class TestClose:
    def test_answers_the_period(self) -> None:
        first = done("close", SEPTEMBER)
        assert first["id"].startswith("per_")
        assert (first["book"], first["state"], first["revision"]) == ("main", "closed", 1)
        assert (first["period_start"], first["period_end"]) == (SEPTEMBER["period_start"], SEPTEMBER["period_end"])
        assert first["closed_by"].startswith("key_")
        assert (first["close_reason"], first["reopened_at"], first["reopened_by"]) == ("month end", None, None)
        assert done("close", OCTOBER)["period_start"] == SEPTEMBER["period_end"]

    def test_answers_a_replay(self) -> None:
        caller = client("ledger:write")
        first, second = (
            caller.post("/v1/ledger/periods/close", SEPTEMBER, format="json", headers={"Idempotency-Key": "september"})
            for _ in range(2)
        )
        assert first.json() == second.json()
        assert models.Period.objects.count() == 1

    def test_says_what_is_closed_when_it_is_a_conflict(self) -> None:
        first = done("close", SEPTEMBER)
        body = refused(send("close", SEPTEMBER), 409, "period_out_of_order")
        assert (body["closed_until"], body["last_closed_period_id"]) == (SEPTEMBER["period_end"], first["id"])

    @pytest.mark.parametrize(
        ("change", "status", "code"),
        [
            ({"period_end": "2999-01-01T00:00:00Z"}, 400, "invalid_request"),
            ({"period_end": SEPTEMBER["period_start"]}, 422, "invalid_period"),
            ({"reason": ""}, 400, "invalid_request"),
            ({"book": "nowhere"}, 404, "book_not_found"),
            ({"book_id": "main"}, 400, "invalid_request"),
        ],
    )
    def test_refuses(self, change: dict[str, Any], status: int, code: str) -> None:
        refused(send("close", {**SEPTEMBER, **change}), status, code)
        assert not models.Period.objects.exists()

    def test_refuses_a_first_period_without_a_start(self) -> None:
        refused(send("close", OCTOBER), 422, "first_period_needs_start")


class TestReopen:
    def test_answers_the_period(self) -> None:
        closed = done("close", SEPTEMBER)
        body = done("reopen", {**SEPTEMBER, "reason": "a bill was forgotten"})
        assert (body["id"], body["state"], body["reopen_reason"]) == (closed["id"], "reopened", "a bill was forgotten")
        assert done("close", SEPTEMBER)["revision"] == 2

    def test_is_a_conflict_when_there_is_nothing_to_reopen_or_others_are_in_the_way(self) -> None:
        assert refused(send("reopen", SEPTEMBER), 409, "period_is_not_closed")["closed_until"] is None
        done("close", SEPTEMBER)
        done("close", OCTOBER)
        body = refused(send("reopen", SEPTEMBER), 409, "period_is_not_the_last")
        assert body["closed_until"] == OCTOBER["period_end"]


class TestList:
    def test_shows_every_closing_newest_first(self) -> None:
        done("close", SEPTEMBER)
        done("reopen", SEPTEMBER)
        done("close", SEPTEMBER)
        data = client("ledger:read").get("/v1/ledger/periods").json()["data"]
        assert [(row["revision"], row["state"]) for row in data] == [(2, "closed"), (1, "reopened")]
        for query, count in [("state=closed", 1), ("book=other", 0), (f"period_end_lt={OCTOBER['period_end']}", 2)]:
            assert len(client("ledger:read").get(f"/v1/ledger/periods?{query}").json()["data"]) == count, query


class TestReach:
    @pytest.mark.parametrize("verb", ["close", "reopen"])
    def test_needs_the_scope_and_a_key_of_all_tenants(self, verb: str) -> None:
        refused(send(verb, SEPTEMBER, "ledger:read", "billing:write"), 403, "forbidden")
        refused(send(verb, SEPTEMBER, tenant_id="acme-corp"), 403, "forbidden")

    @pytest.mark.parametrize("path", ["periods", "trial-balance"])
    def test_of_a_bound_key_ends_at_its_tenant(self, path: str) -> None:
        refused(client("ledger:read", tenant_id="acme-corp").get(f"/v1/ledger/{path}"), 403, "forbidden")


class TestLateTransaction:
    def test_shows_both_times(self) -> None:
        done("close", SEPTEMBER)
        entries = [
            {"account_type": "bad_debt", "entry_type": "debit", "amount_cents": 5},
            {"account_type": "cash", "entry_type": "credit", "amount_cents": 5},
        ]
        body = {"currency": "USD", "reason": "late", "occurred_at": "2026-09-07T00:00:00Z", "entries": entries}
        answer = client("ledger:write").post("/v1/ledger/transactions", body, format="json").json()
        assert answer["occurred_at"] == "2026-09-07T00:00:00Z"
        assert answer["effective_at"] == SEPTEMBER["period_end"]
