"""The screens of invoicing show the path, and let nobody change it."""

import pytest
from django.test import Client
from django.urls import reverse

from invoicing import models
from tests.factories import invoicing as factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def finance(admin_client: Client) -> Client:
    return admin_client


class TestInvoiceAdmin:
    def test_shows_lines_and_what_was_posted(self, finance: Client) -> None:
        invoice = factories.make_open_invoice(amount_cents=2000)

        page = finance.get(reverse("admin:invoicing_invoice_change", args=[invoice.id])).content.decode()

        assert str(invoice.number) in page
        assert models.LineItem.objects.get().description in page
        assert "accounts_receivable" in page
        assert "20.00 USD" in page

    def test_shows_drafts_without_entries(self, finance: Client) -> None:
        draft = factories.make_draft()

        assert finance.get(reverse("admin:invoicing_invoice_change", args=[draft.id])).status_code == 200

    def test_changes_nothing(self, finance: Client) -> None:
        invoice = factories.make_open_invoice()

        answer = finance.post(reverse("admin:invoicing_invoice_change", args=[invoice.id]), {"status": "void"})

        assert answer.status_code == 403
        assert models.Invoice.objects.get().status == "open"


class TestRecognitionScheduleAdmin:
    def test_shows_the_plan_by_month(self, finance: Client) -> None:
        factories.make_open_invoice(amount_cents=2000)
        schedule = models.RecognitionSchedule.objects.get()

        page = finance.get(reverse("admin:invoicing_recognitionschedule_change", args=[schedule.id])).content.decode()

        assert "2026-11" in page
        assert "20.00 USD" in page


class TestScreens:
    @pytest.mark.parametrize(
        "model",
        [
            "tenant",
            "plan",
            "planversion",
            "price",
            "subscription",
            "invoice",
            "lineitem",
            "numberseries",
            "recognitionschedule",
            "recognitionprogress",
            "billedusage",
            "lateusage",
            "usagechange",
            "usagecursor",
        ],
    )
    def test_list_and_search(self, finance: Client, model: str) -> None:
        factories.make_open_invoice()
        if model == "price":
            factories.make_plan(factories.PER_CALL)

        page = finance.get(reverse(f"admin:invoicing_{model}_changelist"))
        searched = finance.get(reverse(f"admin:invoicing_{model}_changelist"), {"q": "tenant"})

        assert (page.status_code, searched.status_code) == (200, 200)

    @pytest.mark.parametrize("model", [models.Tenant, models.PlanVersion, models.Price, models.Subscription])
    def test_show_one(self, finance: Client, model: type[models.Tenant]) -> None:
        factories.subscribe(factories.TenantFactory.create(), factories.make_plan(factories.PER_CALL))
        name = model._meta.model_name

        page = finance.get(reverse(f"admin:invoicing_{name}_change", args=[model.objects.get().pk]))

        assert page.status_code == 200
