"""Whatever happens, its entries balance: every journal function of payments, with generated facts."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments import journal
from tests.support.entries import net, require_postable

NOW = datetime(2026, 11, 20, tzinfo=UTC)
cents = st.integers(1, 10**12)
channels = st.sampled_from(["stripe", journal.MANUAL])


def refunds(amount: int, channel: str = "stripe") -> journal.Refund:
    return journal.Refund(id="re_1", tenant_id="acme", channel=channel, currency="USD", amount_cents=amount)


def disputes(amount: int) -> journal.Dispute:
    return journal.Dispute(id="dp_1", tenant_id="acme", channel="stripe", currency="USD", amount_cents=amount)


class TestPaymentReceived:
    @given(channels, st.lists(st.integers(0, 10**9), min_size=5, max_size=5).filter(any))
    def test_balances(self, channel: str, parts: list[int]) -> None:
        names = ("applied_cents", "recovered_cents", "topped_up_cents", "credited_cents", "unapplied_cents")
        split = journal.Split(**dict(zip(names, parts, strict=True)))
        new = journal.payment_received(
            payment_id="pay_1",
            external_id="",
            tenant_id="acme",
            channel=channel,
            currency="USD",
            split=split,
            received_at=NOW,
        )
        require_postable(new)
        assert sum(amount for amount in net(new).values() if amount > 0) == split.amount_cents == sum(parts)

    @pytest.mark.parametrize("split", [journal.Split(), journal.Split(applied_cents=2, credited_cents=-1)])
    def test_refuses_what_is_no_payment(self, split: journal.Split) -> None:
        with pytest.raises(ValueError, match="must"):
            journal.payment_received(
                payment_id="pay_1",
                external_id="",
                tenant_id="acme",
                channel="stripe",
                currency="USD",
                split=split,
                received_at=NOW,
            )


class TestRefunds:
    @given(channels, cents)
    def test_balance_at_each_step(self, channel: str, amount: int) -> None:
        refund = refunds(amount, channel)
        asked = journal.refund_asked(refund=refund, asked_at=NOW)
        settled = journal.refund_settled(refund=refund, settled_at=NOW)
        before = journal.refund_failed_before_settling(refund=refund, failed_at=NOW)
        after = journal.refund_failed_after_settling(refund=refund, failed_at=NOW)
        for new in (asked, settled, before, after):
            require_postable(new)
        assert {account: amount + net(before)[account] for account, amount in net(asked).items()} == {
            "customer_credit": 0,
            "refunds_pending": 0,
        }
        require_postable(journal.invoice_refunded(refund=refund, invoice_id="inv_1", settled_at=NOW))

    def test_fail_once_and_settle_once_under_one_key(self) -> None:
        refund = refunds(1)
        before = journal.refund_failed_before_settling(refund=refund, failed_at=NOW)
        after = journal.refund_failed_after_settling(refund=refund, failed_at=NOW)
        assert before.idempotency_key == after.idempotency_key == "refund:re_1:failed"
        direct = journal.invoice_refunded(refund=refund, invoice_id="inv_1", settled_at=NOW)
        assert direct.idempotency_key == "refund:re_1:settled"


class TestDisputes:
    @given(cents, st.integers(0, 10**6))
    def test_balance_at_each_step(self, amount: int, fee: int) -> None:
        dispute = disputes(amount)
        withdrawn = journal.dispute_withdrawn(
            dispute=dispute, balance_transaction_id="txn_1", fee_cents=fee, withdrawn_at=NOW
        )
        reinstated = journal.dispute_reinstated(dispute=dispute, balance_transaction_id="txn_2", reinstated_at=NOW)
        lost = journal.dispute_lost(dispute=dispute, lost_at=NOW)
        for new in (withdrawn, reinstated, lost):
            require_postable(new)
        assert net(withdrawn)["disputes_held"] + net(reinstated)["disputes_held"] == 0
        assert net(withdrawn)["disputes_held"] + net(lost)["disputes_held"] == 0

    def test_know_each_movement_of_the_processor_by_its_own_key(self) -> None:
        keys = {
            journal.dispute_withdrawn(
                dispute=disputes(5), balance_transaction_id=one, fee_cents=0, withdrawn_at=NOW
            ).idempotency_key
            for one in ("txn_1", "txn_2")
        }
        assert keys == {"dispute:dp_1:withdrawn:txn_1", "dispute:dp_1:withdrawn:txn_2"}


class TestProcessor:
    @given(cents)
    def test_fee_balances(self, fee: int) -> None:
        require_postable(
            journal.processor_fee_charged(
                balance_transaction_id="txn_1",
                tenant_id="acme",
                channel="stripe",
                currency="USD",
                fee_cents=fee,
                charged_at=NOW,
            )
        )

    @given(st.integers(-(10**12), 10**12).filter(bool))
    def test_payout_balances_in_both_directions(self, amount: int) -> None:
        new = journal.payout_paid(payout_id="po_1", channel="stripe", currency="USD", amount_cents=amount, paid_at=NOW)
        require_postable(new)
        assert net(new)["cash"] == amount
