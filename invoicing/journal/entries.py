"""From signed amounts to the two sides of a transaction; the journals of the floors above make entries here too."""

from collections.abc import Iterable, Mapping

from ledger import chart, posting


def of(amounts: Mapping[str, int], *, tenant_id: str = "", channel: str = "") -> list[posting.NewEntry]:
    """
    Entries of one tenant and channel from net debits by account type: a debit is positive, a credit negative.

    Units: minor units. Zero makes no entry. Each account is named by tenant or channel where its type is.
    """
    return [_entry(account, cents, tenant_id, channel) for account, cents in amounts.items() if cents]


def by_tenant(account_type: str, amounts: Mapping[str, int]) -> list[posting.NewEntry]:
    """Entries on one type of account of many tenants, in the tenants' order; net debits as in ``of``."""
    return [_entry(account_type, cents, tenant_id, "") for tenant_id, cents in sorted(amounts.items()) if cents]


def opposite(entries: Iterable[posting.NewEntry]) -> list[posting.NewEntry]:
    """The same amounts on the same accounts, each on the other side."""
    return [
        posting.NewEntry(
            account_type=entry.account_type,
            entry_type=chart.CREDIT if entry.entry_type == chart.DEBIT else chart.DEBIT,
            amount_cents=entry.amount_cents,
            tenant_id=entry.tenant_id,
            channel=entry.channel,
        )
        for entry in entries
    ]


def require_not_negative(**amounts: int) -> None:
    """
    Refuse an amount that would turn up on the wrong side of the books.

    Raises:
        ValueError: an amount is negative.
    """
    for name, cents in amounts.items():
        if cents < 0:
            raise ValueError(f"{name} is {cents}; it must not be negative")


def require_positive(**amounts: int) -> None:
    """
    Refuse a fact that moves nothing.

    Raises:
        ValueError: an amount is zero or negative.
    """
    for name, cents in amounts.items():
        if cents <= 0:
            raise ValueError(f"{name} is {cents}; it must be positive")


def _entry(account_type: str, cents: int, tenant_id: str, channel: str) -> posting.NewEntry:
    scope = chart.ACCOUNT_TYPES[account_type].scope
    return posting.NewEntry(
        account_type=account_type,
        entry_type=chart.DEBIT if cents > 0 else chart.CREDIT,
        amount_cents=abs(cents),
        tenant_id=tenant_id if scope == "tenant" else "",
        channel=channel if scope == "channel" else "",
    )
