"""From money received to entries."""

from datetime import UTC, datetime

import pytest

from payments import journal

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def entries(channel: str, **split: int) -> list[tuple[str, str, int, str, str]]:
    new = journal.payment_received(
        payment_id="pay_1",
        external_id="pi_1" if channel == "stripe" else "",
        tenant_id="acme-corp",
        channel=channel,
        currency="USD",
        split=journal.Split(**split),
        received_at=NOW,
    )
    return [(one.entry_type, one.account_type, one.amount_cents, one.tenant_id, one.channel) for one in new.entries]


class TestPaymentReceived:
    def test_it_debits_the_processors_clearing_account_for_a_charge(self) -> None:
        assert entries("stripe", applied_cents=900) == [
            ("debit", "processor_clearing", 900, "", "stripe"),
            ("credit", "accounts_receivable", 900, "acme-corp", ""),
        ]

    def test_it_debits_cash_for_a_transfer_and_gives_the_rest_as_credit(self) -> None:
        assert entries("manual", applied_cents=900, credited_cents=100) == [
            ("debit", "cash", 1000, "", ""),
            ("credit", "accounts_receivable", 900, "acme-corp", ""),
            ("credit", "customer_credit", 100, "acme-corp", ""),
        ]

    def test_it_parks_what_has_no_invoice(self) -> None:
        assert entries("manual", unapplied_cents=5) == [
            ("debit", "cash", 5, "", ""),
            ("credit", "unapplied_receipts", 5, "", ""),
        ]

    @pytest.mark.parametrize(
        ("channel", "key"), [("stripe", "payment:pi_1:received"), ("manual", "payment:pay_1:received")]
    )
    def test_it_names_the_fact(self, channel: str, key: str) -> None:
        new = journal.payment_received(
            payment_id="pay_1",
            external_id="pi_1" if channel == "stripe" else "",
            tenant_id="acme-corp",
            channel=channel,
            currency="USD",
            split=journal.Split(applied_cents=1),
            received_at=NOW,
        )
        assert (new.idempotency_key, new.occurred_at, new.reference_id) == (key, NOW, "pay_1")
