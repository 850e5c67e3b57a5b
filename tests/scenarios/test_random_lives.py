"""
Random lives of a tenant, told as business facts, posted through the journals, and held against what they mean.

The model knows no accounts and no sides: it knows what is due, unearned, prepaid, credited, waiting and with the
processor. After each fact the ledger's balances must say the same.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invoicing import journal as invoicing_journal
from invoicing import models
from invoicing.models.invoices import LineKind
from ledger import balances, posting
from payments import journal as payments_journal
from tests.ledger import books

TENANT = "acme-corp"
BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Life:
    """What is true of the tenant, and the draws of hypothesis that decide what comes next."""

    draw: st.DataObject
    due: dict[str, int] = field(default_factory=dict)
    settled: dict[str, list[invoicing_journal.Settlement]] = field(default_factory=dict)
    revenue: dict[str, int] = field(default_factory=dict)
    unearned: int = 0
    prepaid: int = 0
    credit: int = 0
    waiting: int = 0
    clearing: int = 0
    held: int = 0
    refunds: list[payments_journal.Refund] = field(default_factory=list)
    disputes: list[payments_journal.Dispute] = field(default_factory=list)
    count: int = 0

    def cents(self, most: int) -> int:
        return self.draw.draw(st.integers(1, most))

    def number(self) -> int:
        self.count += 1
        return self.count

    def open_invoices(self) -> list[str]:
        return [number for number, cents in self.due.items() if cents]

    def bill(self) -> posting.NewTransaction:
        number = f"inv_{self.number()}"
        used, fee, tax = self.cents(1000), self.cents(1000), self.cents(100)
        invoice = models.Invoice(
            id=number, tenant_id=TENANT, currency="USD", boundary_at=BEGAN, tax_cents=tax, total_cents=used + fee + tax
        )
        lines = [
            models.LineItem(kind=LineKind.USAGE, period_start=BEGAN - timedelta(days=30), amount_cents=used),
            models.LineItem(kind=LineKind.BASE_FEE, period_start=BEGAN, amount_cents=fee),
        ]
        self.due[number], self.settled[number], self.revenue[number] = used + fee + tax, [], used
        self.unearned += fee
        new = invoicing_journal.invoice_finalized(invoice=invoice, lines=lines, finalized_at=BEGAN)
        assert new is not None
        return new

    def earn(self) -> posting.NewTransaction | None:
        if not self.unearned:
            return None
        earned = self.cents(self.unearned)
        self.unearned -= earned
        day = date(2026, 11, 1) + timedelta(days=self.number())
        return invoicing_journal.revenue_recognized(book="main", currency="USD", day=day, earned_cents={TENANT: earned})

    def pay(self) -> posting.NewTransaction:
        number = self.draw.draw(st.sampled_from([*self.open_invoices(), ""]))
        amount = self.cents(3000)
        applied = min(amount, self.due.get(number, 0))
        if applied:
            self.due[number] -= applied
            self.settled[number].append(invoicing_journal.Settlement(kind="cash", amount_cents=applied))
            self.credit += amount - applied
            split = payments_journal.Split(applied_cents=applied, credited_cents=amount - applied)
        else:
            self.prepaid += amount
            split = payments_journal.Split(topped_up_cents=amount)
        self.clearing += amount
        return payments_journal.payment_received(
            payment_id=f"pay_{self.number()}",
            external_id="",
            tenant_id=TENANT,
            channel="stripe",
            currency="USD",
            split=split,
            received_at=BEGAN,
        )

    def apply_credit(self) -> posting.NewTransaction | None:
        kind: invoicing_journal.CreditKind = self.draw.draw(st.sampled_from(["prepaid", "promotional", "customer"]))
        most = {"prepaid": self.prepaid, "promotional": 500, "customer": self.credit}[kind]
        if not self.open_invoices() or not most:
            return None
        number = self.draw.draw(st.sampled_from(self.open_invoices()))
        amount = self.cents(min(most, self.due[number]))
        self.due[number] -= amount
        self.prepaid -= amount if kind == "prepaid" else 0
        self.credit -= amount if kind == "customer" else 0
        self.settled[number].append(invoicing_journal.Settlement(kind=kind, amount_cents=amount))
        application = invoicing_journal.CreditApplication(
            id=f"ca_{self.number()}",
            invoice_id=number,
            tenant_id=TENANT,
            currency="USD",
            kind=kind,
            amount_cents=amount,
        )
        return invoicing_journal.credit_applied(application=application, applied_at=BEGAN)

    def correct(self) -> posting.NewTransaction | None:
        numbers = [number for number, cents in self.revenue.items() if cents]
        if not numbers:
            return None
        number = self.draw.draw(st.sampled_from(numbers))
        note = invoicing_journal.split_credit_note(
            credit_note_id=f"cn_{self.number()}",
            invoice_id=number,
            tenant_id=TENANT,
            currency="USD",
            net_cents=self.cents(self.revenue[number]),
            tax_cents=0,
            unearned_cents=0,
            due_cents=self.due[number],
            settlements=self.settled[number],
        )
        self.revenue[number] -= note.earned_cents
        self.due[number] -= note.due_cents
        for undone in note.undone:
            self.prepaid += undone.amount_cents if undone.kind == "prepaid" else 0
            self.credit += undone.amount_cents if undone.kind in ("cash", "customer") else 0
            last = self.settled[number].pop()
            left = last.amount_cents - undone.amount_cents
            if left:
                self.settled[number].append(invoicing_journal.Settlement(kind=last.kind, amount_cents=left))
        return invoicing_journal.credit_note_issued(note=note, issued_at=BEGAN)

    def ask_refund(self) -> posting.NewTransaction | None:
        if not self.credit:
            return None
        refund = payments_journal.Refund(
            id=f"re_{self.number()}",
            tenant_id=TENANT,
            channel="stripe",
            currency="USD",
            amount_cents=self.cents(self.credit),
        )
        self.credit -= refund.amount_cents
        self.waiting += refund.amount_cents
        self.refunds.append(refund)
        return payments_journal.refund_asked(refund=refund, asked_at=BEGAN)

    def end_refund(self) -> posting.NewTransaction | None:
        if not self.refunds:
            return None
        refund = self.refunds.pop()
        self.waiting -= refund.amount_cents
        if self.draw.draw(st.booleans()):
            self.clearing -= refund.amount_cents
            return payments_journal.refund_settled(refund=refund, settled_at=BEGAN)
        self.credit += refund.amount_cents
        return payments_journal.refund_failed_before_settling(refund=refund, failed_at=BEGAN)

    def dispute(self) -> posting.NewTransaction:
        dispute = payments_journal.Dispute(
            id=f"dp_{self.number()}", tenant_id=TENANT, channel="stripe", currency="USD", amount_cents=self.cents(1000)
        )
        self.disputes.append(dispute)
        self.held += dispute.amount_cents
        self.clearing -= dispute.amount_cents + 15
        return payments_journal.dispute_withdrawn(
            dispute=dispute, balance_transaction_id="txn_1", fee_cents=15, withdrawn_at=BEGAN
        )

    def end_dispute(self) -> posting.NewTransaction | None:
        if not self.disputes:
            return None
        dispute = self.disputes.pop()
        self.held -= dispute.amount_cents
        if self.draw.draw(st.booleans()):
            self.clearing += dispute.amount_cents
            return payments_journal.dispute_reinstated(
                dispute=dispute, balance_transaction_id="txn_2", reinstated_at=BEGAN
            )
        return payments_journal.dispute_lost(dispute=dispute, lost_at=BEGAN)

    def pay_out(self) -> posting.NewTransaction | None:
        if not self.clearing:
            return None
        amount, self.clearing = self.clearing, 0
        return payments_journal.payout_paid(
            payout_id=f"po_{self.number()}", channel="stripe", currency="USD", amount_cents=amount, paid_at=BEGAN
        )

    def write_off(self) -> posting.NewTransaction | None:
        if not self.open_invoices():
            return None
        number = self.open_invoices()[0]
        claim = invoicing_journal.Claim(
            invoice_id=number, tenant_id=TENANT, currency="USD", amount_cents=self.due[number]
        )
        self.due[number], self.revenue[number] = 0, 0
        return invoicing_journal.invoice_written_off(claim=claim, written_off_at=BEGAN)

    def told(self) -> dict[str, int]:
        """What the ledger must say."""
        return {
            "accounts_receivable": sum(self.due.values()),
            "deferred_revenue": self.unearned,
            "prepaid_credit": self.prepaid,
            "customer_credit": self.credit,
            "refunds_pending": self.waiting,
            "disputes_held": self.held,
            "processor_clearing": self.clearing,
        }


EVENTS = [
    Life.bill, Life.bill, Life.earn, Life.pay, Life.pay, Life.apply_credit, Life.correct, Life.ask_refund,
    Life.end_refund, Life.dispute, Life.end_dispute, Life.pay_out, Life.write_off,
]  # fmt: skip


@pytest.mark.django_db
class TestRandomLives:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data(), st.lists(st.sampled_from(EVENTS), min_size=1, max_size=25))
    def test_leave_in_the_ledger_what_they_mean(self, data: st.DataObject, events: list[object]) -> None:
        life = Life(data)
        with transaction.atomic():
            for event in events:
                assert callable(event)
                new = event(life)
                if new is not None:
                    posting.post(book="main", transaction=new)
                    assert self.held(life) == life.told(), event
            books.verify()
            transaction.set_rollback(True)

    def held(self, life: Life) -> dict[str, int]:
        rows = balances.trial_balance(book="main", currency="USD")
        for total in balances.trial_balance_totals(rows):
            assert total.debit_cents == total.credit_cents
        cents = {row.account_type: row.balance_cents for row in rows}
        return {name: cents.get(name, 0) for name in life.told()}
