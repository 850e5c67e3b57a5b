"""
Manual transactions: what finance posts by hand, and takes back by hand.

Receivables, deferred revenue and credits are closed to them. Those belong to invoices and credits, which know what each
cent there is owed for, and have corrections of their own.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from billing_site.kernel import errors as kernel_errors
from billing_site.kernel import ids
from ledger import errors, models, posting

KIND: Final = "manual"
REVERSAL_KIND: Final = "manual_reversal"
RESERVED_TYPES: Final = frozenset({"accounts_receivable", "deferred_revenue", "prepaid_credit", "customer_credit"})


def post_manual(
    *,
    book: str,
    tenant_id: str,
    currency: str,
    occurred_at: datetime,
    entries: Sequence[posting.NewEntry],
    actor: str,
    reason: str,
    metadata: Mapping[str, str],
) -> models.Transaction:
    """
    Post an adjustment by hand; ``actor`` (its reference) and ``reason`` (its description) stay with it.

    Units, locks and refusals are those of ``posting.post``. Requires an open transaction.
    Idempotency: none, each call is a fact of its own; over the API the caller's ``Idempotency-Key``.

    Raises:
        ReservedAccountType: an entry touches 1100, 2100, 2200 or 2210.
    """
    _require_unreserved(entries)
    new = posting.NewTransaction(
        idempotency_key=f"manual:{ids.new_id('man')}",
        kind=KIND,
        tenant_id=tenant_id,
        currency=currency,
        occurred_at=occurred_at,
        entries=entries,
        reference_type="manual",
        reference_id=actor,
        description=reason,
        metadata=metadata,
    )
    return posting.post(book=book, transaction=new)


def reverse_manual(*, public_id: str, actor: str, reason: str, now: datetime) -> models.Transaction:
    """
    Take a manual transaction back by its exact opposite, which takes effect ``now``.

    Idempotency: a transaction is reversed once; again answers the first reversal. Requires an open transaction.

    Raises:
        TransactionNotFound: there is none.
        NotManual: it was not posted by hand.
    """
    original = models.Transaction.objects.filter(pk=ids.decode_serial("txn", public_id) or 0).first()
    if original is None:
        raise errors.TransactionNotFound(f"no transaction {public_id!r}")
    if original.kind != KIND:
        raise errors.NotManual(
            f"{original.public_id} is {original.kind}, and has corrections of its own",
            extra={"kind": original.kind},
        )
    return posting.reverse(
        original=original,
        kind=REVERSAL_KIND,
        occurred_at=now,
        reference_type="manual",
        reference_id=actor,
        description=reason,
    )


def _require_unreserved(entries: Sequence[posting.NewEntry]) -> None:
    faults = [
        kernel_errors.FieldError(
            f"/entries/{place}/account_type",
            errors.ReservedAccountType.code,
            f"{entry.account_type} belongs to invoices, credits and their own corrections",
        )
        for place, entry in enumerate(entries)
        if entry.account_type in RESERVED_TYPES
    ]
    if faults:
        raise errors.ReservedAccountType(faults[0].detail, errors=faults)
