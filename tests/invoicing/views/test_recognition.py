"""What is earned of an invoice, over HTTP."""

from datetime import UTC, datetime

import pytest
from rest_framework.test import APIClient

from invoicing import recognition
from tests.factories import invoicing as factories
from tests.factories import kernel

pytestmark = pytest.mark.django_db


class TestInvoiceRecognition:
    def test_tells_what_each_line_earned_and_will_earn(self, api: APIClient) -> None:
        invoice = factories.make_open_invoice(amount_cents=1000)
        recognition.recognize_revenue(now=datetime(2026, 11, 4, tzinfo=UTC))

        told = api.get(f"/v1/invoices/{invoice.id}/recognition").json()

        assert told == {
            "invoice_id": invoice.id,
            "currency": "USD",
            "recognized_through_on": "2026-11-03",
            "recognized_cents": 100,
            "deferred_cents": 900,
            "lines": [
                {
                    "line_id": invoice.lines.get().id,
                    "description": "Standard",
                    "time_zone": "UTC",
                    "starts_on": "2026-11-01",
                    "ends_on": "2026-12-01",
                    "days": 30,
                    "amount_cents": 1000,
                    "recognized_cents": 100,
                    "deferred_cents": 900,
                    "fully_recognized_on": None,
                    "months": [{"month": "2026-11", "days": 30, "amount_cents": 1000}],
                }
            ],
        }

    def test_has_no_lines_for_a_draft(self, api: APIClient) -> None:
        told = api.get(f"/v1/invoices/{factories.make_draft().id}/recognition").json()

        assert (told["lines"], told["deferred_cents"], told["recognized_through_on"]) == ([], 0, None)

    def test_is_its_tenants_alone(self) -> None:
        invoice = factories.make_open_invoice()

        answer = kernel.client("billing:read", tenant_id="somebody-else").get(f"/v1/invoices/{invoice.id}/recognition")

        assert (answer.status_code, answer.json()["code"]) == (404, "invoice_not_found")
