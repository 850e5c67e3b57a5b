"""
Cases from an accountant's textbook, posted into the real ledger; after each step every balance is told.

A figure is positive on the normal side of its account, as the API tells it; accounts at zero are left out.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Final

import pytest
from django.db import transaction

from invoicing import journal as invoicing_journal
from invoicing import models
from invoicing.models.invoices import LineKind
from ledger import balances, errors, posting
from marketplaces import journal as marketplaces_journal
from payments import journal as payments_journal
from tests.ledger import books

pytestmark = pytest.mark.django_db

NOW: Final = datetime(2026, 11, 20, tzinfo=UTC)
OCTOBER: Final = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER: Final = datetime(2026, 11, 1, tzinfo=UTC)
TENANT: Final = "acme-corp"


def post(*transactions: posting.NewTransaction | None) -> dict[str, int]:
    """Post them; every balance of the book afterwards. A second time changes nothing."""
    made = [new for new in transactions if new is not None]
    for _ in range(2):
        with transaction.atomic():
            posting.post_many(book="main", transactions=made)
    books.verify()
    rows = balances.trial_balance(book="main", currency="USD")
    for total in balances.trial_balance_totals(rows):
        assert total.debit_cents == total.credit_cents
    return {row.account_type: row.balance_cents for row in rows if row.balance_cents}


def invoice(
    *lines: tuple[LineKind, datetime, int], discount: int = 0, tax: int = 0, number: int = 1
) -> posting.NewTransaction:
    """A finalized invoice at the boundary of 1 November."""
    subtotal = sum(amount for _, _, amount in lines)
    header = models.Invoice(
        id=f"inv_{number}",
        tenant_id=TENANT,
        currency="USD",
        boundary_at=NOVEMBER,
        discount_cents=discount,
        tax_cents=tax,
        total_cents=subtotal - discount + tax,
    )
    rows = [models.LineItem(kind=kind, period_start=start, amount_cents=amount) for kind, start, amount in lines]
    new = invoicing_journal.invoice_finalized(invoice=header, lines=rows, finalized_at=NOVEMBER)
    assert new is not None
    return new


def paid(payment_id: str = "pay_1", channel: str = "stripe", **split: int) -> posting.NewTransaction:
    return payments_journal.payment_received(
        payment_id=payment_id,
        external_id="",
        tenant_id=TENANT,
        channel=channel,
        currency="USD",
        split=payments_journal.Split(**split),
        received_at=NOW,
    )


def recognized(day: date, cents: int) -> posting.NewTransaction | None:
    return invoicing_journal.revenue_recognized(book="main", currency="USD", day=day, earned_cents={TENANT: cents})


def applied(kind: invoicing_journal.CreditKind, cents: int) -> invoicing_journal.CreditApplication:
    return invoicing_journal.CreditApplication(
        id=f"ca_{kind}", invoice_id="inv_1", tenant_id=TENANT, currency="USD", kind=kind, amount_cents=cents
    )


def credit(application: invoicing_journal.CreditApplication) -> posting.NewTransaction:
    return invoicing_journal.credit_applied(application=application, applied_at=NOW)


def credit_note(
    *settlements: invoicing_journal.Settlement, net: int, tax: int = 0, unearned: int = 0, due: int = 0
) -> posting.NewTransaction:
    note = invoicing_journal.split_credit_note(
        credit_note_id="cn_1",
        invoice_id="inv_1",
        tenant_id=TENANT,
        currency="USD",
        net_cents=net,
        tax_cents=tax,
        unearned_cents=unearned,
        due_cents=due,
        settlements=settlements,
    )
    return invoicing_journal.credit_note_issued(note=note, issued_at=NOW)


REFUND: Final = payments_journal.Refund(id="re_1", tenant_id=TENANT, channel="stripe", currency="USD", amount_cents=270)
DISPUTE: Final = payments_journal.Dispute(
    id="dp_1", tenant_id=TENANT, channel="stripe", currency="USD", amount_cents=880
)
USAGE: Final = (LineKind.USAGE, OCTOBER, 900)


class TestInvoices:
    def test_usage_with_discount_and_tax(self) -> None:
        assert post(invoice(USAGE, discount=100, tax=80)) == {
            "accounts_receivable": 880,
            "discounts": 100,
            "usage_revenue": 900,
            "tax_payable": 80,
        }

    def test_fee_in_advance_is_deferred_net_of_its_discount(self) -> None:
        # 500 of the 4,000 billed: 375 off the fee, 125 off the usage.
        assert post(invoice((LineKind.BASE_FEE, NOVEMBER, 3000), (LineKind.USAGE, OCTOBER, 1000), discount=500)) == {
            "accounts_receivable": 3500,
            "deferred_revenue": 2625,
            "usage_revenue": 1000,
            "discounts": 125,
        }

    def test_prepaid_3000_is_earned_in_three_months(self) -> None:
        bought = post(invoice((LineKind.BASE_FEE, NOVEMBER, 3000)), paid(applied_cents=3000))
        assert bought == {"processor_clearing": 3000, "deferred_revenue": 3000}
        assert post(recognized(date(2026, 11, 30), 1000)) == {
            "processor_clearing": 3000,
            "deferred_revenue": 2000,
            "subscription_revenue": 1000,
        }
        assert post(recognized(date(2026, 12, 31), 1000))["deferred_revenue"] == 1000
        assert post(recognized(date(2027, 1, 31), 1000)) == {"processor_clearing": 3000, "subscription_revenue": 3000}

    def test_proration_takes_back_the_unused_days_and_bills_the_new(self) -> None:
        post(invoice((LineKind.BASE_FEE, NOVEMBER, 1000)))
        held = post(invoice((LineKind.PRORATION, NOVEMBER, -548), (LineKind.PRORATION, NOVEMBER, 1097), number=2))
        assert held == {"accounts_receivable": 1549, "deferred_revenue": 1549}

    def test_what_would_be_negative_is_carried_to_credit(self) -> None:
        post(invoice((LineKind.BASE_FEE, NOVEMBER, 1000)), paid(applied_cents=1000))
        held = post(
            invoice(
                (LineKind.PRORATION, NOVEMBER, -548), (LineKind.CARRIED_TO_CREDIT, NOVEMBER, 658), tax=-110, number=2
            )
        )
        assert held == {
            "processor_clearing": 1000,
            "deferred_revenue": 452,
            "customer_credit": 658,
            "tax_payable": -110,
        }

    def test_void_leaves_nothing_of_it(self) -> None:
        finalized = invoice(USAGE, (LineKind.BASE_FEE, NOVEMBER, 3000), discount=100, tax=80)
        post(paid(topped_up_cents=500), paid("pay_2", channel="manual", credited_cents=50))
        credits_ = [applied("prepaid", 500), applied("promotional", 70), applied("customer", 50)]
        post(finalized, recognized(date(2026, 11, 19), 1800), *map(credit, credits_))

        held = post(
            invoicing_journal.invoice_voided(
                finalized=finalized, recognized_cents=1800, credits_applied=credits_, voided_at=NOW
            )
        )

        assert held == {"processor_clearing": 500, "prepaid_credit": 500, "cash": 50, "customer_credit": 50}

    def test_written_off_and_recovered(self) -> None:
        claim = invoicing_journal.Claim(invoice_id="inv_1", tenant_id=TENANT, currency="USD", amount_cents=580)
        post(invoice(USAGE, tax=80), paid(applied_cents=400))

        lost = post(invoicing_journal.invoice_written_off(claim=claim, written_off_at=NOW))
        assert lost == {"processor_clearing": 400, "bad_debt": 580, "usage_revenue": 900, "tax_payable": 80}

        assert post(paid("pay_2", recovered_cents=580)) == {
            "processor_clearing": 980,
            "usage_revenue": 900,
            "tax_payable": 80,
        }


class TestCredits:
    def test_top_up_used_and_the_rest_expired(self) -> None:
        assert post(paid(topped_up_cents=1000)) == {"processor_clearing": 1000, "prepaid_credit": 1000}
        used = post(invoice(USAGE), credit(applied("prepaid", 900)))
        assert used == {"processor_clearing": 1000, "prepaid_credit": 100, "usage_revenue": 900}

        expired = invoicing_journal.prepaid_expired(
            grant_id="cg_1", tenant_id=TENANT, currency="USD", amount_cents=100, expired_at=NOW
        )

        assert post(expired) == {"processor_clearing": 1000, "usage_revenue": 900, "breakage": 100}

    def test_promotional_credit_is_a_discount(self) -> None:
        assert post(invoice(USAGE), credit(applied("promotional", 200))) == {
            "accounts_receivable": 700,
            "discounts": 200,
            "usage_revenue": 900,
        }

    @pytest.mark.parametrize("kind", ["prepaid", "customer"])
    def test_credit_that_is_not_there_cannot_be_used(self, kind: invoicing_journal.CreditKind) -> None:
        with pytest.raises(errors.BelowFloor):
            post(invoice(USAGE), credit(applied(kind, 1)))


class TestPayments:
    def test_partial_then_over_paid_by_transfer(self) -> None:
        post(invoice(USAGE), paid(applied_cents=400))
        assert post(paid("pay_2", channel="manual", applied_cents=500, credited_cents=100)) == {
            "processor_clearing": 400,
            "cash": 600,
            "customer_credit": 100,
            "usage_revenue": 900,
        }

    def test_transfer_that_nobody_knows_waits(self) -> None:
        assert post(paid(channel="manual", unapplied_cents=5)) == {"cash": 5, "unapplied_receipts": 5}

    def test_clearing_drains_to_zero_with_fee_and_payout(self) -> None:
        fee = payments_journal.processor_fee_charged(
            balance_transaction_id="txn_1",
            tenant_id=TENANT,
            channel="stripe",
            currency="USD",
            fee_cents=56,
            charged_at=NOW,
        )
        payout = payments_journal.payout_paid(
            payout_id="po_1", channel="stripe", currency="USD", amount_cents=844, paid_at=NOW
        )
        assert post(invoice(USAGE), paid(applied_cents=900), fee, payout) == {
            "cash": 844,
            "processor_fees": 56,
            "usage_revenue": 900,
        }


class TestCreditNoteAndRefund:
    def test_after_a_partial_payment(self) -> None:
        """990 billed, 400 paid, 780 + 78 credited: 590 was due, the other 268 of the cash are the tenant's credit."""
        post(invoice((LineKind.USAGE, OCTOBER, 900), tax=90), paid(applied_cents=400))
        note = credit_note(invoicing_journal.Settlement(kind="cash", amount_cents=400), net=780, tax=78, due=590)
        assert post(note) == {
            "processor_clearing": 400,
            "customer_credit": 268,
            "usage_revenue": 900,
            "credit_notes": 780,
            "tax_payable": 12,
        }

    def test_takes_the_unearned_part_out_of_deferred_revenue_first(self) -> None:
        post(invoice((LineKind.BASE_FEE, NOVEMBER, 3000)), recognized(date(2026, 11, 10), 1000))
        assert post(credit_note(net=2500, unearned=2000, due=3000)) == {
            "accounts_receivable": 500,
            "subscription_revenue": 1000,
            "credit_notes": 500,
        }

    def test_gives_back_each_settlement_the_way_it_came(self) -> None:
        post(paid(topped_up_cents=300), invoice(USAGE))
        post(credit(applied("promotional", 100)), credit(applied("prepaid", 300)), paid("pay_2", applied_cents=500))
        note = credit_note(
            invoicing_journal.Settlement(kind="promotional", amount_cents=100),
            invoicing_journal.Settlement(kind="prepaid", amount_cents=300),
            invoicing_journal.Settlement(kind="cash", amount_cents=500),
            net=850,
        )
        assert post(note) == {
            "processor_clearing": 800,
            "customer_credit": 500,
            "prepaid_credit": 300,
            "discounts": 50,
            "usage_revenue": 900,
            "credit_notes": 850,
        }

    def test_customer_credit_pays_the_next_invoice(self) -> None:
        post(invoice(USAGE), paid(applied_cents=900, credited_cents=200))
        assert post(invoice(USAGE, number=2), credit(applied("customer", 200)))["accounts_receivable"] == 700

    @pytest.mark.parametrize(
        ("step", "after"),
        [
            (None, {"processor_clearing": 900, "refunds_pending": 270}),
            (payments_journal.refund_failed_before_settling, {"processor_clearing": 900, "customer_credit": 270}),
        ],
    )
    def test_refund_asked_and_failed(
        self, step: Callable[..., posting.NewTransaction] | None, after: dict[str, int]
    ) -> None:
        self.credited()
        asked = payments_journal.refund_asked(refund=REFUND, asked_at=NOW)
        failed = step(refund=REFUND, failed_at=NOW) if step else None
        assert post(asked, failed) == {"usage_revenue": 900, "credit_notes": 270, **after}

    def test_refund_settled_and_sent_back(self) -> None:
        self.credited()
        asked = payments_journal.refund_asked(refund=REFUND, asked_at=NOW)
        settled = payments_journal.refund_settled(refund=REFUND, settled_at=NOW)
        assert post(asked, settled) == {"processor_clearing": 630, "usage_revenue": 900, "credit_notes": 270}

        back = payments_journal.refund_failed_after_settling(refund=REFUND, failed_at=NOW)

        assert post(back) == {
            "processor_clearing": 900,
            "customer_credit": 270,
            "usage_revenue": 900,
            "credit_notes": 270,
        }

    def test_refund_without_credit_note_is_due_again(self) -> None:
        post(invoice(USAGE), paid(applied_cents=900))
        made = payments_journal.invoice_refunded(refund=REFUND, invoice_id="inv_1", settled_at=NOW)
        assert post(made) == {"accounts_receivable": 270, "processor_clearing": 630, "usage_revenue": 900}

    def credited(self) -> None:
        post(invoice(USAGE), paid(applied_cents=900))
        post(credit_note(invoicing_journal.Settlement(kind="cash", amount_cents=900), net=270))


class TestDisputes:
    def test_withdrawn_and_won(self) -> None:
        post(invoice(USAGE, discount=100, tax=80), paid(applied_cents=880))
        revenue = {"usage_revenue": 900, "discounts": 100, "tax_payable": 80}
        withdrawn = payments_journal.dispute_withdrawn(
            dispute=DISPUTE, balance_transaction_id="txn_1", fee_cents=15, withdrawn_at=NOW
        )
        held = post(withdrawn)
        assert held == {**revenue, "disputes_held": 880, "dispute_losses": 15, "processor_clearing": -15}

        won = post(
            payments_journal.dispute_reinstated(dispute=DISPUTE, balance_transaction_id="txn_2", reinstated_at=NOW)
        )

        assert won == {**revenue, "dispute_losses": 15, "processor_clearing": 865}

    def test_withdrawn_and_lost(self) -> None:
        post(invoice(USAGE, tax=-20), paid(applied_cents=880))
        withdrawn = payments_journal.dispute_withdrawn(
            dispute=DISPUTE, balance_transaction_id="txn_1", fee_cents=15, withdrawn_at=NOW
        )
        assert post(withdrawn, payments_journal.dispute_lost(dispute=DISPUTE, lost_at=NOW)) == {
            "dispute_losses": 895,
            "processor_clearing": -15,
            "usage_revenue": 900,
            "tax_payable": -20,
        }


class TestMarketplaces:
    def test_usage_accepted_and_disbursed(self) -> None:
        accepted = marketplaces_journal.usage_accepted(
            usage_record_id="ur_1",
            tenant_id=TENANT,
            channel="aws_marketplace",
            currency="USD",
            amount_cents=900,
            accepted_at=NOW,
        )
        assert post(accepted) == {"marketplace_receivable": 900, "usage_revenue": 900}

        disbursed = marketplaces_journal.disbursement_received(
            disbursement_id="d_1",
            channel="aws_marketplace",
            currency="USD",
            gross_cents=900,
            fee_cents=27,
            received_at=NOW,
        )

        assert post(disbursed) == {"cash": 873, "marketplace_fees": 27, "usage_revenue": 900}


class TestAccruals:
    def test_belong_to_the_day_and_are_gone_the_next(self) -> None:
        accrued = invoicing_journal.usage_accrued(
            book="main", currency="USD", day=date(2026, 11, 30), unbilled_cents={TENANT: 700, "globex": 5}
        )
        assert accrued is not None
        assert post(accrued) == {"unbilled_receivable": 705, "usage_revenue": 705}
        assert post(invoicing_journal.accrual_reversed(accrued=accrued)) == {}
        closed = balances.trial_balance(book="main", as_of=datetime(2026, 12, 1, tzinfo=UTC))
        assert {row.account_type: row.balance_cents for row in closed} == {
            "unbilled_receivable": 705,
            "usage_revenue": 705,
        }
