"""From an invoice to ledger entries; no database."""

from collections.abc import Sequence
from datetime import UTC, datetime

from invoicing import journal, models
from invoicing.models.invoices import LineKind

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


def _post(
    lines: Sequence[tuple[LineKind, datetime, int]], *, discount: int = 0, tax: int = 0
) -> list[tuple[str, str, int, str]]:
    subtotal = sum(amount for _, _, amount in lines)
    invoice = models.Invoice(
        id="inv_1",
        tenant_id="acme",
        currency="USD",
        boundary_at=DECEMBER,
        subtotal_cents=subtotal,
        discount_cents=discount,
        tax_cents=tax,
        total_cents=subtotal - discount + tax,
    )
    rows = [models.LineItem(kind=kind, period_start=start, amount_cents=amount) for kind, start, amount in lines]
    fact = journal.invoice_finalized(invoice=invoice, lines=rows, finalized_at=DECEMBER)
    if fact is None:
        return []
    assert fact.idempotency_key == "invoice:inv_1:finalized"
    assert (fact.reference_type, fact.reference_id, fact.tenant_id) == ("invoice", "inv_1", "acme")
    debits = sum(entry.amount_cents for entry in fact.entries if entry.entry_type == "debit")
    assert debits == sum(entry.amount_cents for entry in fact.entries if entry.entry_type == "credit")
    return [(entry.entry_type, entry.account_type, entry.amount_cents, entry.tenant_id) for entry in fact.entries]


class TestInvoiceFinalized:
    def test_books_usage_discount_and_tax(self) -> None:
        assert _post([(LineKind.USAGE, NOVEMBER, 900)], discount=100, tax=80) == [
            ("debit", "accounts_receivable", 880, "acme"),
            ("debit", "discounts", 100, ""),
            ("credit", "usage_revenue", 900, ""),
            ("credit", "tax_payable", 80, ""),
        ]

    def test_defers_a_fee_of_the_period_that_begins(self) -> None:
        assert _post(
            [(LineKind.BASE_FEE, DECEMBER, 500), (LineKind.USAGE, NOVEMBER, 40), (LineKind.USAGE, NOVEMBER, 2)]
        ) == [
            ("debit", "accounts_receivable", 542, "acme"),
            ("credit", "deferred_revenue", 500, "acme"),
            ("credit", "usage_revenue", 42, ""),
        ]

    def test_earns_a_fee_of_the_period_that_ended(self) -> None:
        assert _post([(LineKind.BASE_FEE, NOVEMBER, 500)]) == [
            ("debit", "accounts_receivable", 500, "acme"),
            ("credit", "subscription_revenue", 500, ""),
        ]

    def test_books_nothing_where_nothing_is_billed(self) -> None:
        assert _post([(LineKind.USAGE, NOVEMBER, 0)]) == []

    def test_books_what_a_discount_takes_away_whole(self) -> None:
        assert _post([(LineKind.USAGE, NOVEMBER, 100)], discount=100) == [
            ("debit", "discounts", 100, ""),
            ("credit", "usage_revenue", 100, ""),
        ]

    def test_debits_revenue_where_lines_are_negative_on_the_whole(self) -> None:
        assert _post([(LineKind.BASE_FEE, DECEMBER, 500), (LineKind.ADJUSTMENT, NOVEMBER, -200)]) == [
            ("debit", "accounts_receivable", 300, "acme"),
            ("credit", "deferred_revenue", 500, "acme"),
            ("debit", "usage_revenue", 200, ""),
        ]
