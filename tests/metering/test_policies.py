"""Quotas at the door: refused from a copy, and no longer than the quota lasts."""

from datetime import UTC, datetime, timedelta

import pytest

from billing_site.kernel import clock, copies
from metering import models, policies
from tests.factories import kernel as kernel_factories
from tests.factories import metering as factories

EVENT = {"tenant_id": "acme-corp", "event_type": "api_call"}


def use_up(period_end: datetime) -> None:
    """A quota of the hour before ``period_end``."""
    threshold = factories.UsageThresholdFactory(action="refuse", period="hour")
    models.ThresholdFiring.objects.create(
        threshold=threshold,
        tenant_id="acme-corp",
        period_start=period_end - timedelta(hours=1),
        period_end=period_end,
        reached_quantity=1_000,
        fired_at=period_end - timedelta(minutes=30),
    )


class TestRefusedPairs:
    def test_are_a_copy_within_the_hour_and_end_with_it(
        self, committed_db: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hour = datetime(2026, 11, 20, 12, tzinfo=UTC)
        monkeypatch.setattr(clock, "now", lambda: hour - timedelta(minutes=1))
        assert policies.refused_pairs(now=clock.now()) == {}
        use_up(hour)
        assert policies.refused_pairs(now=clock.now()) == {}  # the copy is young
        copies.forget_all()
        assert list(policies.refused_pairs(now=clock.now())) == [("acme-corp", "api_call")]
        monkeypatch.setattr(clock, "now", lambda: hour)
        assert policies.refused_pairs(now=hour) == {}


@pytest.mark.django_db
def test_an_event_over_quota_is_a_dead_letter_and_its_neighbours_are_stored() -> None:
    now = clock.now()
    use_up(now + timedelta(minutes=59))
    events = [
        {**EVENT, "idempotency_key": "k1"},
        {**EVENT, "idempotency_key": "k2", "event_type": "storage"},
        {**EVENT, "idempotency_key": "k3", "tenant_id": "globex"},
    ]
    by = kernel_factories.client("events:write")
    answer = by.post("/v1/events", {"events": events}, format="json").json()
    assert (answer["accepted"], [each["code"] for each in answer["errors"]]) == (2, ["quota_exceeded"])
    assert models.DeadLetter.objects.get().code == "quota_exceeded"
