"""Random batches of business facts against a ledger in memory: the same refusals, the same balances."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import balances, chart, errors, models, posting, verification
from tests.ledger import books

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
TENANTS = ("acme-corp", "globex")
TYPES = ("accounts_receivable", "prepaid_credit", "customer_credit", "deferred_revenue", "usage_revenue", "cash")

Account = tuple[str, str, str]


@dataclass
class Model:
    """The ledger as a few dictionaries."""

    facts: dict[str, posting.NewTransaction] = field(default_factory=dict)
    cents: dict[Account, int] = field(default_factory=dict)
    entries: int = 0

    def post(self, new: posting.NewTransaction) -> None:
        known = self.facts.get(new.idempotency_key)
        if known is not None:
            return
        self.facts[new.idempotency_key] = new
        for entry in new.entries:
            account = (new.currency, entry.account_type, entry.tenant_id)
            line = chart.ACCOUNT_TYPES[entry.account_type]
            step = entry.amount_cents if entry.entry_type == line.normal_side else -entry.amount_cents
            self.cents[account] = self.cents.get(account, 0) + step
            self.entries += 1
            if line.floor_cents is not None and self.cents[account] < line.floor_cents:
                raise errors.BelowFloor(str(account))

    def conflicts(self, batch: Sequence[posting.NewTransaction]) -> bool:
        facts = dict(self.facts)
        return any(
            posting.fingerprint(facts.setdefault(new.idempotency_key, new)) != posting.fingerprint(new) for new in batch
        )

    def copy(self) -> "Model":
        return Model(dict(self.facts), dict(self.cents), self.entries)


@st.composite
def transactions(draw: st.DrawFn) -> posting.NewTransaction:
    """Two to five entries that balance, on few accounts, with few keys: replays and conflicts are frequent."""
    tenant_id = draw(st.sampled_from(TENANTS))
    debits = draw(st.lists(st.integers(1, 100), min_size=1, max_size=3))
    whole = sum(debits)
    halves = [whole] if whole == 1 or draw(st.booleans()) else [1, whole - 1]
    entries = []
    for entry_type, amounts in (("debit", debits), ("credit", halves)):
        for amount_cents in amounts:
            account_type = draw(st.sampled_from(TYPES))
            scope = chart.ACCOUNT_TYPES[account_type].scope
            entries.append(
                posting.NewEntry(
                    account_type=account_type,
                    entry_type="debit" if entry_type == "debit" else "credit",
                    amount_cents=amount_cents,
                    tenant_id=tenant_id if scope == "tenant" else "",
                ),
            )
    return posting.NewTransaction(
        idempotency_key=f"fact:{draw(st.integers(0, 30))}",
        kind="generated",
        tenant_id=tenant_id,
        currency=draw(st.sampled_from(("USD", "JPY"))),
        occurred_at=NOVEMBER,
        entries=draw(st.permutations(entries)),
        reference_type="",
        reference_id="",
        description="",
    )


@pytest.mark.django_db
class TestBatches:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(batches=st.lists(st.lists(transactions(), min_size=1, max_size=8), min_size=1, max_size=8))
    def test_do_what_the_model_does(self, batches: list[list[posting.NewTransaction]]) -> None:
        with transaction.atomic():
            model = Model()
            for batch in batches:
                model = self.post(model, batch)
            self.compare(model)
            transaction.set_rollback(True)

    def post(self, model: Model, batch: list[posting.NewTransaction]) -> Model:
        after = model.copy()
        expected: type[Exception] | None = errors.IdempotencyConflict if model.conflicts(batch) else None
        if expected is None:
            try:
                for new in batch:
                    after.post(new)
            except errors.BelowFloor:
                expected = errors.BelowFloor
        if expected is not None:
            with pytest.raises(expected), transaction.atomic():
                posting.post_many(book="main", transactions=batch)
            return model
        with transaction.atomic():
            posted = posting.post_many(book="main", transactions=batch)
        keys = models.Transaction.objects.in_bulk([row.transaction_id for row in posted])
        assert [keys[row.transaction_id].idempotency_key for row in posted] == [new.idempotency_key for new in batch]
        report = verification.verify_ledger()
        assert (report.faults, report.transaction_count) == ([], len(after.facts))
        return after

    def compare(self, model: Model) -> None:
        books.verify()
        assert models.Transaction.objects.count() == len(model.facts)
        assert models.Entry.objects.count() == model.entries
        accounts = balances.with_balance(models.Account.objects.all())
        stored = accounts.values_list("currency", "type", "tenant_id", "balance_cents")
        assert {(currency, name, tenant_id): cents for currency, name, tenant_id, cents in stored} == model.cents
        for total in balances.trial_balance_totals(balances.trial_balance(book="main")):
            assert total.debit_cents == total.credit_cents
