"""
Posting: the one door by which anything enters the ledger.

One call, one round trip to ``ledger_post_transactions`` (``migrations/sql/posting.sql``), whether it posts one
transaction or a thousand. What is checked here is checked for the sake of its message; the database checks it again.

The order of locks, for all who post in a transaction of their own work: what the fact is about (an invoice's payment
collection, then the invoice; or the progress of recognition), then what posting locks (the book, shared; the keys; new
accounts; balances by account and shard), then the counter of invoice numbers, which is held shortest.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec
from django.db import connection, transaction

from billing_site.kernel import money
from ledger import chart, errors, models

_LONGEST_KEY: Final = 255
_LONGEST_CODE: Final = 64
_LONGEST_DESCRIPTION: Final = 2000

_canonical: Final = msgspec.json.Encoder(order="sorted")

_POST: Final = """
    SELECT posted_ids, are_replays, open_from, posted_at
      FROM public.ledger_post_transactions(
           %s,
           %s::text[], %s::bytea[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
           %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::integer[], %s::bigint[],
           %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[],
           %s::integer[], %s::integer[], %s::integer[], %s::text[], %s::bigint[])
"""


class NewEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    One debit or credit to be posted.

    The account is named by what it is and opened on first use: ``tenant_id`` for types that are per tenant,
    ``channel`` for those per channel, neither for the book's.
    """

    account_type: str
    entry_type: chart.EntryType
    amount_cents: int
    tenant_id: str = ""
    channel: str = ""


class NewTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """
    One business fact to be posted.

    ``idempotency_key`` names the fact (``invoice:inv_x:finalized``) and never expires. ``tenant_id`` empty: the
    transaction is the book's, and may touch the accounts of many tenants. ``reverses_id`` names the transaction whose
    exact opposite this is; ``reverse`` makes such.
    """

    idempotency_key: str
    kind: str
    tenant_id: str
    currency: str
    occurred_at: datetime
    entries: Sequence[NewEntry]
    reference_type: str
    reference_id: str
    description: str
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    reverses_id: int | None = None


class Posted(NamedTuple):
    """What became of one transaction of many: its id, and whether it was in the books already."""

    transaction_id: int
    is_replay: bool


def post(*, book: str, transaction: NewTransaction) -> models.Transaction:
    """
    Record one balanced, immutable transaction; ``post_many`` with one.

    Units: ``amount_cents`` is positive, in the minor unit of the transaction's currency.
    Idempotency: the same key with the same facts answers the first transaction. Facts are the kind, the tenant, the
    currency, ``occurred_at``, the reference, what it reverses and the entries in any order; description and metadata
    may be reworded.
    Periods: a fact that lies in a closed period takes effect at the first open instant, and keeps ``occurred_at``.
    Locks: the book, shared; the key; then the balances touched, in account order. Requires an open transaction at READ
    COMMITTED, which must be rolled back after a refusal.

    Raises:
        Unbalanced: debits and credits differ.
        TooFewEntries: fewer than two entries.
        AmountOutOfRange: an amount is not 1 to 10^15.
        IdempotencyConflict: the key was posted with other facts.
        BelowFloor: a credit balance would fall below zero.
        TenantMismatch: an entry stands on another tenant's account.
        UnknownAccountType, WrongScope, BookNotFound, MalformedTransaction: what their names say.
    """
    [(posted_id, is_replay)], open_from, posted_at = _post(book, [transaction])
    if is_replay:
        return models.Transaction.objects.get(pk=posted_id)
    return _written(book, transaction, posted_id, open_from, posted_at)


def post_many(*, book: str, transactions: Sequence[NewTransaction]) -> list[Posted]:
    """
    Record transactions, all or none, in one round trip; answer for them in the order given.

    Units, idempotency, locks and refusals are those of ``post``. Each entry is held to the floor of its account as if
    the transactions were posted one by one, in the order given.
    """
    return _post(book, transactions)[0] if transactions else []


def _post(book: str, transactions: Sequence[NewTransaction]) -> tuple[list[Posted], datetime | None, datetime]:
    """What became of each, from when on the book is open (None: always was), and when it was written."""
    _require_open_transaction()
    for new in transactions:
        _check(new)
    fingerprints = [fingerprint(new) for new in transactions]
    with errors.translated(), connection.cursor() as cursor:
        cursor.execute(_POST, _arguments(book, transactions, fingerprints))
        posted_ids, are_replays, open_from, posted_at = cursor.fetchone()
    return list(map(Posted, posted_ids, are_replays)), open_from, posted_at


def reverse(
    *,
    original: models.Transaction,
    kind: str,
    occurred_at: datetime,
    reference_type: str,
    reference_id: str,
    description: str,
    metadata: Mapping[str, str] | None = None,
) -> models.Transaction:
    """
    Post the exact opposite of a transaction, once.

    Idempotency: a transaction has one reversal; again answers that one, whatever else was given.
    Locks and transaction are those of ``post``.

    Raises:
        BelowFloor: a credit balance would fall below zero, as it has been spent since.
    """
    first = find_reversal(original)
    if first is not None:
        return first
    new = NewTransaction(
        idempotency_key=f"{original.public_id}:reversed",
        kind=kind,
        tenant_id=original.tenant_id,
        currency=original.currency,
        occurred_at=occurred_at,
        entries=_opposite_entries(original),
        reference_type=reference_type,
        reference_id=reference_id,
        description=description,
        metadata=metadata or {},
        reverses_id=original.pk,
    )
    try:
        with transaction.atomic():
            return post(book=original.book_id, transaction=new)
    except (errors.IdempotencyConflict, errors.AlreadyReversed):
        # Somebody was faster by a moment. The next statement sees what was waited for.
        first = find_reversal(original)
        if first is None:
            raise
        return first


def find_reversal(original: models.Transaction) -> models.Transaction | None:
    """The transaction that reverses this one."""
    return models.Transaction.objects.filter(reverses_id=original.pk).first()


def _opposite_entries(original: models.Transaction) -> list[NewEntry]:
    _require_open_transaction()
    return [
        NewEntry(
            account_type=entry.account.type,
            entry_type=chart.CREDIT if entry.entry_type == chart.DEBIT else chart.DEBIT,
            amount_cents=entry.amount_cents,
            tenant_id=entry.account.tenant_id,
            channel=entry.account.channel,
        )
        for entry in models.Entry.objects.filter(transaction=original).select_related("account").order_by("line_no")
    ]


def fingerprint(new: NewTransaction) -> bytes:
    """The SHA-256 of the facts in canonical JSON; tells a replay from a conflict."""
    entries = sorted(
        [entry.account_type, entry.tenant_id, entry.channel, entry.entry_type, entry.amount_cents]
        for entry in new.entries
    )
    facts = {
        "kind": new.kind,
        "tenant_id": new.tenant_id,
        "currency": new.currency,
        "occurred_at": new.occurred_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "reference_type": new.reference_type,
        "reference_id": new.reference_id,
        "entries": entries,
        **({} if new.reverses_id is None else {"reverses_id": new.reverses_id}),
    }
    return hashlib.sha256(_canonical.encode(facts)).digest()


def _require_open_transaction() -> None:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            "posting requires an open transaction: the fact and its entries are committed together",
        )


def _check(new: NewTransaction) -> None:
    """Refuse with a better sentence what the database would refuse as well."""
    money.require_currency(new.currency)
    _check_texts(new)
    if new.occurred_at.tzinfo is None:
        raise errors.MalformedTransaction(f"{new.idempotency_key}: occurred_at has no offset")
    if len(new.entries) < 2:
        raise errors.TooFewEntries(f"{new.idempotency_key}: has {len(new.entries)} entries, at least two are needed")
    sums = {chart.DEBIT: 0, chart.CREDIT: 0}
    for entry in new.entries:
        _check_entry(new, entry)
        sums[entry.entry_type] += entry.amount_cents
    if sums[chart.DEBIT] != sums[chart.CREDIT]:
        raise errors.Unbalanced(
            f"{new.idempotency_key}: debits are {sums[chart.DEBIT]}, credits {sums[chart.CREDIT]} {new.currency}",
        )


def _check_texts(new: NewTransaction) -> None:
    limits = {
        "idempotency_key": _LONGEST_KEY,
        "kind": _LONGEST_CODE,
        "tenant_id": _LONGEST_CODE,
        "reference_type": _LONGEST_CODE,
        "reference_id": _LONGEST_KEY,
        "description": _LONGEST_DESCRIPTION,
    }
    for name, limit in limits.items():
        text = getattr(new, name)
        if len(text) > limit or "\x00" in text:
            raise errors.MalformedTransaction(f"{name} must be at most {limit} characters, not {text[:80]!r}")
    if not new.idempotency_key or not new.kind:
        raise errors.MalformedTransaction("a transaction needs an idempotency_key and a kind")


def _check_entry(new: NewTransaction, entry: NewEntry) -> None:
    account_type = chart.ACCOUNT_TYPES.get(entry.account_type)
    if account_type is None:
        raise errors.UnknownAccountType(f"the chart of accounts has no {entry.account_type!r}")
    if (bool(entry.tenant_id), bool(entry.channel)) != (
        account_type.scope == "tenant",
        account_type.scope == "channel",
    ):
        raise errors.WrongScope(
            f"{new.idempotency_key}: {entry.account_type} is per {account_type.scope}, "
            f"not for tenant {entry.tenant_id!r} and channel {entry.channel!r}",
        )
    if entry.entry_type not in (chart.DEBIT, chart.CREDIT):
        raise errors.MalformedTransaction(f"entry_type is debit or credit, not {entry.entry_type!r}")
    if type(entry.amount_cents) is not int or not 1 <= entry.amount_cents <= models.MAXIMUM_AMOUNT_CENTS:
        raise errors.AmountOutOfRange(
            f"{new.idempotency_key}: {entry.account_type} has {entry.amount_cents!r}, "
            f"amounts are whole and 1 to {models.MAXIMUM_AMOUNT_CENTS}",
        )
    if entry.tenant_id and new.tenant_id and entry.tenant_id != new.tenant_id:
        raise errors.TenantMismatch(
            f"{new.idempotency_key}: is {new.tenant_id}'s and touches {entry.account_type} of {entry.tenant_id}",
        )


def _arguments(book: str, transactions: Sequence[NewTransaction], fingerprints: list[bytes]) -> list[Any]:
    """The arrays of the function: transactions, accounts named once, entries that point into both from 1."""
    accounts: dict[tuple[str, str, str, str], int] = {}
    entries: list[tuple[int, int, int, str, int]] = []
    for place, new in enumerate(transactions, start=1):
        for line, entry in enumerate(new.entries, start=1):
            name = (entry.account_type, new.currency, entry.tenant_id, entry.channel)
            account = accounts.setdefault(name, len(accounts) + 1)
            entries.append((place, line, account, entry.entry_type, entry.amount_cents))
    account_types, account_currencies, account_tenant_ids, account_channels = zip(*accounts, strict=True)
    entry_places, entry_lines, entry_accounts, entry_types, entry_amounts = zip(*entries, strict=True)
    return [
        book,
        _texts(new.idempotency_key for new in transactions),
        _texts(rf"\x{digest.hex()}" for digest in fingerprints),
        _texts(new.kind for new in transactions),
        _texts(new.tenant_id for new in transactions),
        _texts(new.currency for new in transactions),
        _texts(new.occurred_at.isoformat() for new in transactions),
        _texts(new.reference_type for new in transactions),
        _texts(new.reference_id for new in transactions),
        _texts(new.description for new in transactions),
        _texts(json.dumps(dict(new.metadata)) if new.metadata else "{}" for new in transactions),
        _integers(len(new.entries) for new in transactions),
        _integers(_amount_cents(new) for new in transactions),
        _integers("NULL" if new.reverses_id is None else new.reverses_id for new in transactions),
        _texts(account_types),
        _texts(account_currencies),
        _texts(account_tenant_ids),
        _texts(account_channels),
        _integers(entry_places),
        _integers(entry_lines),
        _integers(entry_accounts),
        _texts(entry_types),
        _integers(entry_amounts),
    ]


def _texts(values: Iterable[str]) -> str:
    """A PostgreSQL array of texts as a literal; the driver's own conversion took a fifth of a large call."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join([f'"{value}"' for value in escaped]) + "}"


def _integers(values: Iterable[int | Literal["NULL"]]) -> str:
    """A PostgreSQL array of integers as a literal."""
    return "{" + ",".join(map(str, values)) + "}"


def _amount_cents(new: NewTransaction) -> int:
    return sum(entry.amount_cents for entry in new.entries if entry.entry_type == chart.DEBIT)


def _written(
    book: str,
    new: NewTransaction,
    posted_id: int,
    open_from: datetime | None,
    posted_at: datetime,
) -> models.Transaction:
    """The row just written, as reading it back would make it."""
    values = {
        "id": posted_id,
        "book_id": book,
        "idempotency_key": new.idempotency_key,
        "fingerprint": fingerprint(new),
        "kind": new.kind,
        "tenant_id": new.tenant_id,
        "currency": new.currency,
        "occurred_at": new.occurred_at,
        "effective_at": max(new.occurred_at, open_from or new.occurred_at),
        "created_at": posted_at,
        "reference_type": new.reference_type,
        "reference_id": new.reference_id,
        "description": new.description,
        "metadata": dict(new.metadata),
        "entry_count": len(new.entries),
        "amount_cents": _amount_cents(new),
        "reverses_id": new.reverses_id,
    }
    # In the order of the model's columns, as from_db needs them; its writer is left to be read when someone asks.
    columns = [column.attname for column in models.Transaction._meta.concrete_fields if column.attname in values]  # noqa: SLF001  (a documented API)
    return models.Transaction.from_db(connection.alias, columns, [values[column] for column in columns])
