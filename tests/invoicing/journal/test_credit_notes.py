"""How a credit note is split: the unearned part first, up to what is due, then the latest settlement first."""

import pytest

from invoicing import journal
from invoicing.journal import Settlement


def split(*settlements: Settlement, net: int, tax: int = 0, unearned: int = 0, due: int = 0) -> journal.CreditNote:
    return journal.split_credit_note(
        credit_note_id="cn_1",
        invoice_id="inv_1",
        tenant_id="acme",
        currency="USD",
        net_cents=net,
        tax_cents=tax,
        unearned_cents=unearned,
        due_cents=due,
        settlements=settlements,
    )


class TestSplitCreditNote:
    def test_lessens_what_is_due_first(self) -> None:
        note = split(Settlement(kind="cash", amount_cents=500), net=300, tax=30, due=400)
        assert (note.due_cents, note.undone) == (330, [])

    def test_undoes_the_latest_settlement_first(self) -> None:
        note = split(
            Settlement(kind="promotional", amount_cents=100),
            Settlement(kind="prepaid", amount_cents=200),
            Settlement(kind="cash", amount_cents=500),
            net=700,
            due=50,
        )
        assert note.due_cents == 50
        assert [(one.kind, one.amount_cents) for one in note.undone] == [("cash", 500), ("prepaid", 150)]

    def test_takes_back_what_is_unearned_first(self) -> None:
        note = split(net=700, tax=70, unearned=400, due=1000)
        assert (note.unearned_cents, note.earned_cents, note.tax_cents) == (400, 300, 70)

    def test_refuses_more_than_there_is(self) -> None:
        with pytest.raises(ValueError, match="1 more than is due and was settled"):
            split(Settlement(kind="cash", amount_cents=500), net=601, due=100)

    def test_refuses_a_negative_amount(self) -> None:
        with pytest.raises(ValueError, match="net_cents is -1"):
            split(net=-1)
