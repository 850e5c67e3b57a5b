"""A POST that is sent again answers as the first did, and has one effect."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing_site.kernel import idempotency, models
from tests.billing_site.kernel import sample
from tests.factories import kernel as factories
from tests.support import threads

pytestmark = pytest.mark.urls("tests.billing_site.kernel.sample")
GOOD = {"tenant_id": "acme-corp", "topic": "invoice.paid"}


def post(client: Any, body: dict[str, Any], key: str) -> Any:
    return client.post("/v1/messages", body, format="json", HTTP_IDEMPOTENCY_KEY=key)


@pytest.mark.django_db
class TestIdempotent:
    def test_replays_the_first_answer_without_a_second_effect(self) -> None:
        client = factories.client()
        first, second = post(client, GOOD, "k"), post(client, GOOD, "k")
        assert first.status_code == second.status_code == 201
        assert first.json() == second.json()
        assert "Idempotent-Replayed" not in first
        assert second["Idempotent-Replayed"] == "true"
        assert models.OutboxMessage.objects.count() == 1

    def test_takes_the_key_quoted_or_not(self) -> None:
        client = factories.client()
        assert post(client, GOOD, "k").json() == post(client, GOOD, '"k"').json()

    def test_cares_for_the_meaning_of_a_body_not_its_spacing(self) -> None:
        client = factories.client()
        post(client, GOOD, "k")
        again = client.post(
            "/v1/messages",
            '{ "topic":"invoice.paid",  "tenant_id":"acme-corp"}',
            content_type="application/json",
            HTTP_IDEMPOTENCY_KEY="k",
        )
        assert again["Idempotent-Replayed"] == "true"

    def test_refuses_the_key_with_another_body(self) -> None:
        client = factories.client()
        post(client, GOOD, "k")
        other = post(client, {**GOOD, "tenant_id": "globex"}, "k")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert models.OutboxMessage.objects.count() == 1

    def test_belongs_to_one_api_key(self) -> None:
        assert post(factories.client(), GOOD, "k").json() != post(factories.client(), GOOD, "k").json()

    @pytest.mark.parametrize("topic", ["refused", "broken"])
    def test_remembers_no_failure_and_undoes_its_effect(self, topic: str) -> None:
        client = factories.client()
        assert post(client, {**GOOD, "topic": topic}, "k").status_code >= 400
        assert models.OutboxMessage.objects.count() == 0
        assert models.IdempotencyRecord.objects.count() == 0
        assert post(client, GOOD, "k").status_code == 201

    @pytest.mark.parametrize("key", ["", "x" * 256, '""', "\x07", "\u00e9"])
    def test_refuses_a_key_that_is_none(self, key: str) -> None:
        assert post(factories.client(), GOOD, key).status_code == 400
        assert models.OutboxMessage.objects.count() == 0


class TestTwoAtOnce:
    def test_runs_again_what_a_deadlock_undid(self, committed_db: str) -> None:
        sample.Messages.started.clear()
        assert post(factories.client(), {**GOOD, "topic": "deadlock"}, "k").status_code == 201
        assert sample.Messages.started.is_set()
        assert models.OutboxMessage.objects.count() == models.IdempotencyRecord.objects.count() == 1

    def test_answers_409_at_once_while_the_first_runs(self, committed_db: str) -> None:
        client = factories.client()
        sample.Messages.started.clear()
        sample.Messages.go_on.clear()
        slow = {**GOOD, "topic": "slow"}

        answers: dict[str, Any] = {}

        def first() -> None:
            answers["first"] = post(client, slow, "k")

        def second() -> None:
            assert sample.Messages.started.wait(10)
            try:
                answers["second"] = post(client, slow, "k")
            finally:
                sample.Messages.go_on.set()

        assert threads.run_together([first, second]) == [None, None]
        assert answers["first"].status_code == 201
        assert (answers["second"].status_code, answers["second"].json()["code"]) == (409, "idempotency_key_in_use")
        assert post(client, slow, "k").json() == answers["first"].json()
        assert models.OutboxMessage.objects.count() == 1

    def test_has_one_effect_under_16_clients(self, committed_db: str) -> None:
        client = factories.client()
        barrier = threading.Barrier(16)

        def one() -> int:
            barrier.wait(10)
            status: int = post(client, GOOD, "k").status_code
            return status

        statuses = threads.run_together([one] * 16)
        assert set(statuses) <= {201, 409}
        assert 201 in statuses
        assert models.OutboxMessage.objects.count() == 1


@pytest.mark.django_db
class TestPurge:
    def test_forgets_only_what_is_past_its_time(self) -> None:
        now = datetime(2026, 11, 3, tzinfo=UTC)
        key = factories.ApiKeyFactory.create()
        for index, age in enumerate([timedelta(hours=47), timedelta(hours=49), timedelta(days=9)]):
            models.IdempotencyRecord.objects.create(
                api_key=key,
                key=str(index),
                fingerprint=b"",
                status=200,
                body={},
                created_at=now - age,
            )
        assert idempotency.purge(now=now, slice_size=1) == 2
        assert idempotency.purge(now=now) == 0
        assert [record.key for record in models.IdempotencyRecord.objects.all()] == ["0"]
