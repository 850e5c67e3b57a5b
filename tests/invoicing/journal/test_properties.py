"""Whatever happens, its entries balance: every journal function of invoicing, with generated facts."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing import journal, models
from invoicing.journal.credits import CreditKind
from invoicing.models.invoices import LineKind
from tests.support.entries import net, require_postable

NOW = datetime(2026, 11, 20, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
cents = st.integers(1, 10**12)
kinds: st.SearchStrategy[CreditKind] = st.sampled_from(["prepaid", "promotional", "customer"])

positive_lines = st.tuples(
    st.sampled_from([kind for kind in LineKind if kind != LineKind.CARRIED_TO_CREDIT]),
    st.sampled_from([NOVEMBER, DECEMBER]),
    st.integers(0, 10**9),
)
corrections = st.tuples(
    st.sampled_from([LineKind.PRORATION, LineKind.ADJUSTMENT]), st.just(NOVEMBER), st.integers(-(10**9), 0)
)


def line(kind: LineKind, start: datetime, amount: int) -> models.LineItem:
    return models.LineItem(kind=kind, period_start=start, amount_cents=amount)


@st.composite
def invoices(draw: st.DrawFn) -> tuple[models.Invoice, list[models.LineItem]]:
    """An invoice as rule 10 of rating makes it: never negative, a negative rest carried to credit."""
    said = draw(st.lists(positive_lines, max_size=5)) + draw(st.lists(corrections, max_size=2))
    lines = [line(*one) for one in said]
    discountable = sum(max(one.amount_cents, 0) for one in lines if one.kind != LineKind.MINIMUM_COMMITMENT)
    discount, tax = draw(st.integers(0, discountable)), draw(st.integers(0, 10**6))
    total = sum(one.amount_cents for one in lines) - discount + tax
    if total < 0:
        lines.append(line(LineKind.CARRIED_TO_CREDIT, NOVEMBER, -total))
    subtotal = sum(one.amount_cents for one in lines)
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
    return invoice, lines


@st.composite
def credit_notes(draw: st.DrawFn) -> journal.CreditNote:
    due = draw(st.integers(0, 10**6))
    settlements = draw(
        st.lists(
            st.builds(
                journal.Settlement,
                kind=st.sampled_from(["cash", "prepaid", "promotional", "customer"]),
                amount_cents=st.integers(0, 10**6),
            ),
            max_size=5,
        )
    )
    most = due + sum(one.amount_cents for one in settlements)
    gross = draw(st.integers(0, most))
    tax = draw(st.integers(0, gross))
    return journal.split_credit_note(
        credit_note_id="cn_1",
        invoice_id="inv_1",
        tenant_id="acme",
        currency="USD",
        net_cents=gross - tax,
        tax_cents=tax,
        unearned_cents=draw(st.integers(0, 10**6)),
        due_cents=due,
        settlements=settlements,
    )


def application(kind: CreditKind, amount: int, number: int = 1) -> journal.CreditApplication:
    return journal.CreditApplication(
        id=f"ca_{number}", invoice_id="inv_1", tenant_id="acme", currency="USD", kind=kind, amount_cents=amount
    )


class TestInvoiceFinalized:
    @given(invoices())
    def test_balances(self, made: tuple[models.Invoice, list[models.LineItem]]) -> None:
        invoice, lines = made
        new = journal.invoice_finalized(invoice=invoice, lines=lines, finalized_at=NOW)
        if new is not None:
            require_postable(new)
            assert net(new).get("accounts_receivable", 0) == invoice.total_cents

    @given(invoices())
    def test_defers_what_is_recognised_later(self, made: tuple[models.Invoice, list[models.LineItem]]) -> None:
        invoice, lines = made
        new = journal.invoice_finalized(invoice=invoice, lines=lines, finalized_at=NOW)
        deferred = sum(one.amount_cents for one in journal.deferrals(invoice=invoice, lines=lines))
        assert (net(new) if new else {}).get("deferred_revenue", 0) == -deferred


class TestInvoiceVoided:
    @given(
        invoices(),
        st.integers(-(10**9), 10**9),
        st.lists(st.tuples(kinds, st.integers(1, 10**6)), max_size=4),
    )
    def test_undoes_all_that_was_posted(
        self,
        made: tuple[models.Invoice, list[models.LineItem]],
        recognized: int,
        applied: list[tuple[CreditKind, int]],
    ) -> None:
        invoice, lines = made
        finalized = journal.invoice_finalized(invoice=invoice, lines=lines, finalized_at=NOVEMBER)
        if finalized is None:
            return
        applications = [application(kind, amount, number) for number, (kind, amount) in enumerate(applied)]
        posted = [finalized, *(journal.credit_applied(application=one, applied_at=NOVEMBER) for one in applications)]
        earned = journal.revenue_recognized(
            book="main", currency="USD", day=date(2026, 11, 1), earned_cents={"acme": recognized}
        )
        if earned is not None:
            posted.append(earned)

        voided = journal.invoice_voided(
            finalized=finalized, recognized_cents=recognized, credits_applied=applications, voided_at=NOW
        )

        left: dict[str, int] = {}
        for new in [*posted, voided]:
            for account, amount in net(new).items():
                left[account] = left.get(account, 0) + amount
        assert not any(left.values())
        if voided.entries:
            require_postable(voided)


class TestInvoiceWrittenOff:
    @given(cents)
    def test_balances(self, amount: int) -> None:
        claim = journal.Claim(invoice_id="inv_1", tenant_id="acme", currency="USD", amount_cents=amount)
        require_postable(journal.invoice_written_off(claim=claim, written_off_at=NOW))


class TestCreditApplied:
    @given(kinds, cents)
    def test_balances(self, kind: CreditKind, amount: int) -> None:
        require_postable(journal.credit_applied(application=application(kind, amount), applied_at=NOW))

    @pytest.mark.parametrize("amount", [0, -1])
    def test_refuses_what_moves_nothing_or_backwards(self, amount: int) -> None:
        with pytest.raises(ValueError, match="positive"):
            journal.credit_applied(application=application("prepaid", amount), applied_at=NOW)


class TestPrepaidExpired:
    @given(cents)
    def test_balances(self, amount: int) -> None:
        require_postable(
            journal.prepaid_expired(
                grant_id="cg_1", tenant_id="acme", currency="USD", amount_cents=amount, expired_at=NOW
            )
        )


class TestCreditNoteIssued:
    @given(credit_notes())
    def test_balances(self, note: journal.CreditNote) -> None:
        if note.unearned_cents + note.earned_cents + note.tax_cents:
            require_postable(journal.credit_note_issued(note=note, issued_at=NOW))


class TestRevenueRecognized:
    @given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(-(10**9), 10**9)))
    def test_balances(self, earned: dict[str, int]) -> None:
        new = journal.revenue_recognized(book="main", currency="USD", day=date(2026, 11, 30), earned_cents=earned)
        assert (new is None) == (not any(earned.values()))
        if new is not None:
            require_postable(new)
            assert new.occurred_at == datetime(2026, 11, 30, 23, 59, 59, 999999, UTC)


class TestUsageAccrued:
    @given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(-(10**9), 10**9)))
    def test_balances_and_is_undone_the_next_day(self, unbilled: dict[str, int]) -> None:
        new = journal.usage_accrued(book="main", currency="USD", day=date(2026, 11, 30), unbilled_cents=unbilled)
        if new is None:
            assert not any(unbilled.values())
            return
        require_postable(new)
        undone = journal.accrual_reversed(accrued=new)
        require_postable(undone)
        assert undone.occurred_at == DECEMBER
        assert net(undone) == {account: -amount for account, amount in net(new).items()}
