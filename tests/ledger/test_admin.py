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


class TestTrialBalance:
    ADDRESS = "/admin/ledger/book/main/trial-balance/"

    def test_shows_each_account_type_and_totals_that_agree(self, finance: Client) -> None:
        page = finance.get(self.ADDRESS)
        assert page.status_code == 200
        (table,) = page.context["tables"]
        assert (table["currency"], table["debit"], table["credit"]) == ("USD", "10.00 USD", "10.00 USD")
        assert [(line["code"], line["debit"], line["credit"]) for line in table["lines"]] == [
            ("1100", "10.00 USD", ""),
            ("4000", "", "10.00 USD"),
        ]
        accounts = finance.get(table["lines"][0]["accounts"])
        assert accounts.status_code == 200
        assert accounts.context["cl"].result_count == 1

    def test_of_a_day_before_everything_holds_nothing(self, finance: Client) -> None:
        (table,) = finance.get(self.ADDRESS, {"as_of": "2000-01-01"}).context["tables"]
        assert (table["debit"], table["credit"]) == ("0.00 USD", "0.00 USD")

    def test_of_one_currency(self, finance: Client) -> None:
        page = finance.get(self.ADDRESS, {"currency": "EUR"})
        assert page.context["tables"] == []
        assert b"Nothing was posted" in page.content
        assert len(finance.get(self.ADDRESS, {"currency": "USD"}).context["tables"]) == 1

    @pytest.mark.parametrize(
        "query",
        [
            {"as_of": "yesterday"},
            {"currency": "us"},
            {"first_day": "2026-11-02", "end_day": "2026-11-01"},
            {"first_day": "x", "end_day": ""},
        ],
    )
    def test_says_what_is_wrong_with_what_was_asked(self, finance: Client, query: dict[str, str]) -> None:
        assert finance.get(self.ADDRESS, query).status_code == 400

    def test_downloads_the_entries(self, finance: Client) -> None:
        posted = models.Transaction.objects.get()
        day = posted.effective_at.date()
        file = finance.get(self.ADDRESS, {"first_day": str(day), "end_day": str(day + timedelta(days=1))})
        assert file["Content-Disposition"].startswith('attachment; filename="ledger-main-')
        lines = b"".join(file.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
        assert len(lines) == 3
        assert posted.idempotency_key in lines[1]

    def test_is_not_for_who_may_not_see_the_ledger(self) -> None:
        browser = Client()
        browser.force_login(User.objects.create_user("guest", is_staff=True))
        assert browser.get(self.ADDRESS).status_code == 403

    def test_of_no_book_is_not_found(self, finance: Client) -> None:
        assert finance.get("/admin/ledger/book/nope/trial-balance/").status_code == 404


class TestStatement:
    def test_leads_from_an_account_to_its_entries(self, finance: Client) -> None:
        account = models.Account.objects.get(type="accounts_receivable")
        page = finance.get(f"/admin/ledger/account/{account.pk}/change/")
        address = f"/admin/ledger/entry/?account__id__exact={account.pk}"
        assert address in page.content.decode()
        assert [entry.account_id for entry in finance.get(address).context["cl"].result_list] == [account.pk]
