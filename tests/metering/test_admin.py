"""Metering's screens."""

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from metering import aggregation, models
from tests.factories import metering as factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def finance() -> Client:
    user = get_user_model().objects.create_superuser("finance", password="x" * 20)
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.usefixtures("settings")
class TestScreens:
    @pytest.fixture(autouse=True)
    def _rows(self) -> None:
        factories.ingest_many(3)
        aggregation.aggregate_usage(now=factories.NOW)
        factories.ingest_many(2)
        factories.DeadLetterFactory()

    @pytest.mark.parametrize("name", ["event", "eventkey", "series", "touchedwindow", "usagesummary", "deadletter"])
    @pytest.mark.parametrize("query", ["", "?q=acme-corp", "?q=nobody", "?q=x%27%00"])
    def test_list_and_search(self, finance: Client, name: str, query: str) -> None:
        assert finance.get(f"/admin/metering/{name}/{query}").status_code == 200

    @pytest.mark.parametrize("query", ["hours=24", "hours=nonsense"])
    def test_filter_events_by_hour(self, finance: Client, query: str) -> None:
        assert finance.get(f"/admin/metering/event/?{query}").status_code in (200, 302)

    def test_filter_dead_letters_by_reason(self, finance: Client) -> None:
        answer = finance.get("/admin/metering/deadletter/?code=negative_quantity&state__exact=open")
        assert answer.context["cl"].result_count == 1

    @pytest.mark.parametrize("model", [models.Event, models.EventKey, models.Series, models.DeadLetter])
    def test_show_one(self, finance: Client, model: type[models.Event]) -> None:
        row = model.objects.first()
        assert row is not None
        assert finance.get(f"/admin/metering/{model._meta.model_name}/{row.pk}/change/").status_code == 200

    def test_find_an_event_by_its_key(self, finance: Client) -> None:
        event = models.Event.objects.first()
        assert event is not None
        answer = finance.get("/admin/metering/event/", {"q": f"acme-corp {event.idempotency_key}"})
        assert [row.pk for row in answer.context["cl"].result_list] == [event.pk]

    def test_find_nothing_by_a_name_that_nothing_has(self, finance: Client) -> None:
        assert finance.get("/admin/metering/event/nonsense/change/").status_code == 302

    def test_change_nothing(self, finance: Client) -> None:
        assert finance.get("/admin/metering/event/add/").status_code == 403
        letter = models.DeadLetter.objects.get()
        assert finance.post(f"/admin/metering/deadletter/{letter.pk}/delete/").status_code == 403
