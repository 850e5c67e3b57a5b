"""A transaction that is about to be posted, read as an accountant would."""

from ledger import chart, posting


def net(new: posting.NewTransaction) -> dict[str, int]:
    """Net debits by account type."""
    sums: dict[str, int] = {}
    for entry in new.entries:
        sums[entry.account_type] = sums.get(entry.account_type, 0) + _signed(entry)
    return sums


def require_postable(new: posting.NewTransaction) -> None:
    """Fail where the ledger would refuse its form: it balances, and no account is named twice or out of its scope."""
    assert sum(map(_signed, new.entries)) == 0, new
    assert len(new.entries) >= 2, new
    assert all(entry.amount_cents > 0 for entry in new.entries), new
    accounts = [(entry.account_type, entry.tenant_id, entry.channel) for entry in new.entries]
    assert len(set(accounts)) == len(accounts), new
    for entry in new.entries:
        scope = chart.ACCOUNT_TYPES[entry.account_type].scope
        assert (bool(entry.tenant_id), bool(entry.channel)) == (scope == "tenant", scope == "channel"), entry
        assert new.tenant_id in ("", entry.tenant_id) or not entry.tenant_id, entry
    assert new.idempotency_key
    assert new.kind
    assert new.reference_id


def _signed(entry: posting.NewEntry) -> int:
    return entry.amount_cents if entry.entry_type == chart.DEBIT else -entry.amount_cents
