"""Every table of the ledger can be looked at, searched and filtered, and changed by nobody."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client

from ledger import models, periods
from tests.factories import ledger as factories

pytestmark = pytest.mark.django_db

MODELS = (
    models.Book,
    models.AccountType,
    models.Account,
    models.Balance,
    models.Transaction,
    models.Entry,
    models.Period,
    models.PeriodBalance,
)


@pytest.fixture
def finance() -> Client:
    browser = Client()
    browser.force_login(User.objects.create_superuser("finance"))
    posted = factories.TransactionFactory()
    end = posted.effective_at + timedelta(days=1)
    periods.close_period(
        book="main", period_start=posted.effective_at, period_end=end, actor="key_1", reason="test", now=end
    )
    return browser


@pytest.mark.parametrize("model", MODELS)
class TestScreens:
    def test_list_and_search(self, finance: Client, model: type[models.Account]) -> None:
        address = f"/admin/ledger/{model._meta.model_name}/"
        assert finance.get(address).status_code == 200
        assert finance.get(address, {"q": "acme-corp"}).status_code == 200

    def test_show_one(self, finance: Client, model: type[models.Account]) -> None:
        row = model.objects.order_by("pk").last()
        assert row is not None
        response = finance.get(f"/admin/ledger/{model._meta.model_name}/{row.pk}/change/")
        assert response.status_code == 200

    def test_change_nothing(self, finance: Client, model: type[models.Account]) -> None:
        row = model.objects.order_by("pk").last()
        assert row is not None
        address = f"/admin/ledger/{model._meta.model_name}"
        assert finance.get(f"{address}/add/").status_code == 403
        assert finance.post(f"{address}/{row.pk}/delete/", {"post": "yes"}).status_code == 403
        assert finance.post(f"{address}/{row.pk}/change/", {"code": "x"}).status_code == 403
        assert model in admin.site._registry


class TestAccountList:
    def test_shows_the_balance(self, finance: Client) -> None:
        assert b"10.00 USD" in finance.get("/admin/ledger/account/").content
