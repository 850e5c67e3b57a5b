"""From a marketplace's money to entries."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import posting
from marketplaces import journal
from tests.support.entries import net, require_postable

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def disbursement(gross: int, fee: int) -> posting.NewTransaction:
    return journal.disbursement_received(
        disbursement_id="d_1",
        channel="aws_marketplace",
        currency="USD",
        gross_cents=gross,
        fee_cents=fee,
        received_at=NOW,
    )


class TestUsageAccepted:
    @given(st.integers(1, 10**12))
    def test_balances(self, amount: int) -> None:
        new = journal.usage_accepted(
            usage_record_id="ur_1",
            tenant_id="acme",
            channel="aws_marketplace",
            currency="USD",
            amount_cents=amount,
            accepted_at=NOW,
        )
        require_postable(new)
        assert net(new) == {"marketplace_receivable": amount, "usage_revenue": -amount}


class TestDisbursementReceived:
    def test_tells_the_fee_apart(self) -> None:
        assert net(disbursement(900, 27)) == {"cash": 873, "marketplace_fees": 27, "marketplace_receivable": -900}

    @given(st.data())
    def test_balances(self, data: st.DataObject) -> None:
        gross = data.draw(st.integers(1, 10**12))
        require_postable(disbursement(gross, data.draw(st.integers(0, gross))))

    @pytest.mark.parametrize(("gross", "fee"), [(0, 0), (-1, 0), (10, -1), (10, 11)])
    def test_refuses_what_no_marketplace_pays(self, gross: int, fee: int) -> None:
        with pytest.raises(ValueError, match="must"):
            disbursement(gross, fee)
