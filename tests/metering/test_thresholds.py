"""Usage thresholds: reached once a period, told once, and refused at the door where that is asked for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from metering import models, thresholds
from tests.factories import metering as factories

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
        (pair, detail) = thresholds.refused_pairs(now=NOW).popitem()
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
