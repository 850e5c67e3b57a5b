"""Settlement: money against an invoice."""

from datetime import timedelta

import pytest
from django.db import transaction

from billing_site.kernel.models import OutboxMessage
from invoicing import errors, settlement
from invoicing.models import Invoice
from tests.factories import invoicing as factories
from tests.factories.invoicing import DECEMBER, NOVEMBER
from tests.support import threads


def _pay(invoice: Invoice, amount_cents: int) -> Invoice:
    with transaction.atomic():
        return settlement.apply_payment(invoice_id=invoice.id, amount_cents=amount_cents, now=DECEMBER)


@pytest.mark.django_db
class TestApplyPayment:
    def test_pays_an_invoice_in_parts(self) -> None:
        invoice = factories.make_open_invoice(amount_cents=1000)

        first, second = _pay(invoice, 400), _pay(invoice, 600)

        assert (first.status, first.amount_paid_cents, first.amount_due_cents, first.paid_at) == (
            "open",
            400,
            600,
            None,
        )
        assert (second.status, second.amount_due_cents, second.paid_at) == ("paid", 0, DECEMBER)
        assert OutboxMessage.objects.filter(topic="invoice.paid", reference_id=invoice.id).count() == 1

    def test_recovers_an_uncollectible_invoice(self) -> None:
        invoice = factories.make_open_invoice(amount_cents=1000)
        Invoice.objects.update(status="uncollectible")

        assert _pay(invoice, 1000).status == "paid"

    def test_refuses_more_than_is_due_and_tells_what_is(self) -> None:
        invoice = factories.make_open_invoice(amount_cents=1000)

        with pytest.raises(errors.PaymentExceedsDue) as refused:
            _pay(invoice, 1001)

        assert refused.value.extra == {"amount_due_cents": 1000}

    def test_refuses_a_paid_invoice(self) -> None:
        invoice = factories.make_open_invoice(amount_cents=1000)
        _pay(invoice, 1000)

        with pytest.raises(errors.InvoiceNotPayable) as refused:
            _pay(invoice, 1)

        assert refused.value.extra == {"invoice_status": "paid"}

    def test_refuses_a_draft(self) -> None:
        with pytest.raises(errors.InvoiceNotPayable):
            _pay(factories.make_draft(), 1)

    def test_knows_no_unknown_invoice(self) -> None:
        with pytest.raises(errors.InvoiceNotFound), transaction.atomic():
            settlement.apply_payment(invoice_id="inv_nobody", amount_cents=1, now=NOVEMBER + timedelta(1))

    @pytest.mark.parametrize("amount_cents", [0, -5])
    def test_takes_no_payment_that_is_none(self, amount_cents: int) -> None:
        with pytest.raises(ValueError, match="none"):
            _pay(factories.make_open_invoice(), amount_cents)


class TestPaymentsAtOnce:
    def test_never_take_more_than_is_due(self, committed_db: str) -> None:
        invoice = factories.make_open_invoice(amount_cents=1000)

        outcomes = threads.run_together([lambda: _pay(invoice, 100)] * 16)

        refusals = [outcome for outcome in outcomes if isinstance(outcome, errors.InvoiceNotPayable)]
        settled = Invoice.objects.get()
        assert len(refusals) == 6
        assert (settled.status, settled.amount_paid_cents, settled.amount_due_cents) == ("paid", 1000, 0)
