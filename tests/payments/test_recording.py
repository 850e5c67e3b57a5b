"""Money that came: recorded once, and to the cent."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from invoicing import errors as invoicing_errors
from invoicing.models import Invoice
from payments import errors, recording
from payments.models import Allocation, CollectionStatus, Payment
from tests.factories import invoicing as invoicing_factories
from tests.factories import payments as factories
from tests.payments.support import NOW, balance, clearing, collecting, receivable, received, status_of

pytestmark = pytest.mark.django_db


def receipt_for(invoice: Invoice, amount_cents: int, **changes: object) -> recording.Receipt:
    receipt = recording.Receipt(
        tenant_id=invoice.tenant_id,
        channel="stripe",
        external_id="pi_1",
        amount_cents=amount_cents,
        currency=invoice.currency,
        invoice_id=invoice.pk,
        received_at=NOW,
    )
    return replace(receipt, **changes)  # type: ignore[arg-type]


def record(receipt: recording.Receipt) -> Payment:
    with transaction.atomic():
        return recording.record_payment(receipt=receipt, now=NOW)


def transfer(receipt: recording.Receipt) -> Payment:
    with transaction.atomic():
        return recording.record_transfer(receipt=replace(receipt, channel="manual", external_id=""), now=NOW)


class TestRecordPayment:
    def test_it_pays_the_invoice_and_posts_in_one(self) -> None:
        invoice = invoicing_factories.make_open_invoice()
        payment = record(receipt_for(invoice, 1000))
        assert (status_of(invoice), receivable(invoice), clearing()) == ("paid", 0, 1000)
        assert received()[0].idempotency_key == "payment:pi_1:received"
        assert received()[0].reference_id == payment.pk
        assert Allocation.objects.get().amount_cents == 1000

    def test_it_records_the_same_charge_once(self) -> None:
        invoice = invoicing_factories.make_open_invoice()
        assert record(receipt_for(invoice, 1000)) == record(receipt_for(invoice, 1000))
        assert len(received()) == 1

    def test_it_applies_a_part_and_leaves_the_rest_due(self) -> None:
        invoice = invoicing_factories.make_open_invoice()
        record(receipt_for(invoice, 400))
        assert (status_of(invoice), receivable(invoice)) == ("open", 600)
        record(receipt_for(invoice, 600, external_id="pi_2"))
        assert (status_of(invoice), receivable(invoice), clearing()) == ("paid", 0, 1000)

    def test_it_credits_the_tenant_with_what_is_over(self) -> None:
        invoice = invoicing_factories.make_open_invoice()
        payment = record(receipt_for(invoice, 1001))
        assert (payment.applied_cents, payment.credited_cents, payment.unapplied_cents) == (1000, 1, 0)
        assert (receivable(invoice), balance("customer_credit", tenant_id=invoice.tenant_id)) == (0, 1)

    def test_it_credits_the_tenant_with_a_second_payment_of_a_paid_invoice(self) -> None:
        invoice = invoicing_factories.make_open_invoice()
        record(receipt_for(invoice, 1000))
        transfer(receipt_for(invoice, 1000))
        assert (receivable(invoice), balance("customer_credit", tenant_id=invoice.tenant_id)) == (0, 1000)
        assert Allocation.objects.count() == 1

    def test_it_parks_another_currency_in_that_currency(self) -> None:
        invoice = invoicing_factories.make_open_invoice()
        payment = record(receipt_for(invoice, 700, currency="EUR"))
        assert payment.unapplied_cents == 700
        assert balance("unapplied_receipts", currency="EUR") == 700
        assert (status_of(invoice), receivable(invoice)) == ("open", 1000)

    def test_it_refuses_another_tenants_invoice(self) -> None:
        invoice = invoicing_factories.make_open_invoice()
        other = invoicing_factories.TenantFactory.create()
        with pytest.raises(invoicing_errors.InvoiceNotFound):
            record(receipt_for(invoice, 1000, tenant_id=other.pk))
        assert not Payment.objects.exists()

    def test_it_settles_the_collection_that_waits(self) -> None:
        invoice = invoicing_factories.make_open_invoice(billing_channel="stripe")
        factories.CollectionFactory.create(invoice=invoice, status=CollectionStatus.DECLINED, next_attempt_at=None)
        transfer(receipt_for(invoice, 1000))
        assert collecting(invoice).status == CollectionStatus.SETTLED


class TestRecordTransfer:
    def test_it_debits_cash(self) -> None:
        invoice = invoicing_factories.make_open_invoice()
        transfer(receipt_for(invoice, 1500))
        assert (balance("cash"), receivable(invoice)) == (1500, 0)
        assert balance("customer_credit", tenant_id=invoice.tenant_id) == 500

    def test_it_parks_what_names_no_invoice(self) -> None:
        tenant = invoicing_factories.TenantFactory.create()
        receipt = recording.Receipt(
            tenant_id=tenant.pk, channel="manual", amount_cents=250, currency="USD", received_at=NOW
        )
        payment = transfer(receipt)
        assert (payment.unapplied_cents, balance("unapplied_receipts"), balance("cash")) == (250, 250, 250)
        assert received()[0].idempotency_key == f"payment:{payment.pk}:received"

    def test_it_dates_the_books_by_when_the_money_came(self) -> None:
        invoice = invoicing_factories.make_open_invoice()
        transfer(receipt_for(invoice, 1000, received_at=NOW - timedelta(days=3)))
        assert received()[0].occurred_at == NOW - timedelta(days=3)

    def test_it_refuses_a_draft_and_another_currency(self) -> None:
        draft = invoicing_factories.make_draft()
        with pytest.raises(errors.InvoiceTakesNoPayment) as refused:
            transfer(receipt_for(draft, 1000))
        assert refused.value.extra["invoice_status"] == "draft"
        with pytest.raises(errors.CurrencyMismatch):
            transfer(receipt_for(invoicing_factories.make_open_invoice(), 1000, currency="EUR"))
        assert not Payment.objects.exists()


class TestTables:
    """What the database itself refuses, whoever writes."""

    def test_a_payment_and_its_allocation_are_not_rewritten_by_the_service(self) -> None:
        allocation = factories.AllocationFactory.create()
        for statement in (
            "UPDATE payments_payment SET amount_cents = 1",
            "DELETE FROM payments_payment",
            "UPDATE payments_allocation SET amount_cents = 1",
            "DELETE FROM payments_attempt",
            "DELETE FROM payments_provider_message",
        ):
            with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)
        assert Allocation.objects.get() == allocation

    def test_a_charge_is_one_payment(self) -> None:
        factories.PaymentFactory.create(channel="stripe", external_id="pi_1")
        with pytest.raises(IntegrityError, match="payments_charge_is_one_payment"):
            factories.PaymentFactory.create(channel="stripe", external_id="pi_1")

    def test_a_payment_has_a_home_to_the_cent(self) -> None:
        with pytest.raises(IntegrityError, match="payments_payment_has_a_home_to_the_cent"):
            factories.PaymentFactory.create(amount_cents=1000, unapplied_cents=999)

    def test_an_invoice_has_one_attempt_in_flight(self) -> None:
        first = factories.PaymentAttemptFactory.create()
        with pytest.raises(IntegrityError, match="payments_invoice_has_one_attempt_in_flight"):
            factories.PaymentAttemptFactory.create(invoice=first.invoice, number=2, payment_method=first.payment_method)

    def test_a_tenant_has_one_default_method(self) -> None:
        first = factories.PaymentMethodFactory.create()
        with pytest.raises(IntegrityError, match="payments_tenant_has_one_default_method"):
            factories.PaymentMethodFactory.create(tenant=first.tenant)
