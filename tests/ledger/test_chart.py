"""The chart of accounts in Python and the one that the database opens accounts by are the same."""

import pytest

from ledger import chart, models


@pytest.mark.django_db
class TestChart:
    def test_is_the_databases(self) -> None:
        stored = {
            (row.code, row.name, row.category, row.normal_side, row.scope, row.floor_cents, row.shard_count)
            for row in models.AccountType.objects.all()
        }
        assert stored == {
            (row.code, row.name, row.category, row.normal_side, row.scope, row.floor_cents, row.shards)
            for row in chart.ACCOUNT_TYPES.values()
        }

    def test_floors_both_kinds_of_credit_and_nothing_else(self) -> None:
        floored = {name for name, row in chart.ACCOUNT_TYPES.items() if row.floor_cents is not None}
        assert floored == {"prepaid_credit", "customer_credit"}

    def test_puts_assets_and_expenses_on_the_debit_side_and_the_rest_on_the_other_but_for_contra_revenue(self) -> None:
        for row in chart.ACCOUNT_TYPES.values():
            debit = row.category in {"asset", "expense"} or row.code.startswith("49")
            assert row.normal_side == ("debit" if debit else "credit"), row
