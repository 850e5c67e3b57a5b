"""What is kept of events that were sent again, and for how long."""

from datetime import timedelta

import pytest
from django.db.models import Sum
from pytest_django import DjangoAssertNumQueries

from metering import aggregation, models, repeats
from tests.factories import metering as factories
from tests.metering.months import THEN, event
from tests.support.threads import results, run_together

DAY = timedelta(days=1)


def repeat(times: int, *, hours: int = 2) -> None:
    """A client in a loop sends the same events, one an hour, batch after batch."""
    events = [event(idempotency_key=f"k{n}", event_timestamp=THEN - timedelta(hours=n)) for n in range(hours)]
    for _ in range(times + 1):
        factories.ingest(*events, now=THEN)


def counted() -> int:
    total: int = models.RepeatedEvent.objects.aggregate(total=Sum("duplicates"))["total"] or 0
    return total


@pytest.mark.django_db
class TestTidy:
    def test_leaves_the_last_two_days_batch_by_batch(self) -> None:
        repeat(5)
        aggregation.aggregate_usage(now=THEN + 2 * DAY)
        assert models.RepeatedEvent.objects.count() == 10

    def test_adds_up_by_hour_what_is_older_and_loses_none(self) -> None:
        repeat(5)
        factories.ingest(event(idempotency_key="k0", quantity=9, event_timestamp=THEN), now=THEN)
        aggregation.aggregate_usage(now=THEN + 3 * DAY)
        rows = models.RepeatedEvent.objects.order_by("event_hour")
        assert list(rows.values_list("batch_id", "duplicates", "conflicts")) == [(0, 5, 0), (0, 5, 1)]
        assert {row.created_at for row in rows} == {THEN}

    def test_adds_up_once(self, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        repeat(5)
        repeats.tidy(now=THEN + 3 * DAY)
        before = list(models.RepeatedEvent.objects.values_list("pk", flat=True))
        with django_assert_num_queries(2):
            repeats.tidy(now=THEN + 4 * DAY)
        assert list(models.RepeatedEvent.objects.values_list("pk", flat=True)) == before

    def test_takes_a_bounded_number_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(repeats, "_SLICE", 4)
        repeat(5)
        repeats.tidy(now=THEN + 3 * DAY)
        assert models.RepeatedEvent.objects.exclude(batch_id=repeats.ADDED_UP).count() == 6
        assert counted() == 10

    def test_forgets_after_90_days(self) -> None:
        repeat(5)
        aggregation.aggregate_usage(now=THEN + 90 * DAY)
        assert counted() == 10
        aggregation.aggregate_usage(now=THEN + 91 * DAY)
        assert counted() == 0


@pytest.mark.usefixtures("committed_db")
class TestBesideItself:
    def test_adds_up_each_row_once(self) -> None:
        repeat(30, hours=5)
        results(run_together([lambda: repeats.tidy(now=THEN + 3 * DAY)] * 4))
        assert counted() == 150
        assert models.RepeatedEvent.objects.count() == 5
