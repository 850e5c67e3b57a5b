"""
What the books say: balances of accounts and tenants, the trial balance, now and at any earlier moment.

A balance now is read from balance rows. A balance ``as_of`` a moment is that, less what the entries from that moment on
moved, so that the cost is that of the time since, not of all history. ``as_of`` is half-open, as periods are: it counts
what took effect before it, so that midnight of 1 December is the close of November.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypedDict

from django.db import connection
from django.db.models import BigIntegerField, Case, F, OuterRef, QuerySet, Subquery, Sum, Value, When
from django.db.models.functions import Cast, Coalesce

from ledger import chart, models

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations


class HeldCents(TypedDict):
    """What ``with_balance`` adds to an account."""

    balance_cents: int


@dataclass(frozen=True, kw_only=True)
class TypeBalance:
    """The balance of all accounts of one type and currency, positive on the normal side."""

    book: str
    currency: str
    account_type: str
    code: str
    normal_side: str
    balance_cents: int


@dataclass(frozen=True, kw_only=True)
class TrialBalanceRow:
    """One line of a trial balance: the net balance of an account type, in the column of its sign."""

    currency: str
    account_type: str
    code: str
    category: str
    normal_side: str
    debit_cents: int
    credit_cents: int

    @property
    def balance_cents(self) -> int:
        """The balance, positive on the normal side."""
        net_debit = self.debit_cents - self.credit_cents
        return net_debit if self.normal_side == chart.DEBIT else -net_debit


@dataclass(frozen=True, kw_only=True)
class TrialBalanceTotal:
    """The sums of both columns in one currency; they are equal, or the books are broken."""

    currency: str
    debit_cents: int
    credit_cents: int


_TRIAL_BALANCE: Final = """
    SELECT account.currency, line.name, line.code, line.category, line.normal_side,
           sum(CASE line.normal_side WHEN 'debit' THEN moved.cents ELSE -moved.cents END)::bigint AS net_debit_cents
      FROM (
            SELECT balance.account_id, balance.balance_cents AS cents
              FROM ledger_balance AS balance
            {later}
           ) AS moved
      JOIN ledger_account AS account ON account.id = moved.account_id
      JOIN ledger_account_type AS line ON line.name = account.type
     WHERE account.book_id = %(book)s
       AND (%(currency)s::text IS NULL OR account.currency = %(currency)s)
     GROUP BY account.currency, line.name, line.code, line.category, line.normal_side
     ORDER BY account.currency, line.code
"""

_LATER_ENTRIES_UNDONE: Final = """
            UNION ALL
            SELECT entry.account_id,
                   -sum(CASE WHEN entry.entry_type = account.normal_side THEN entry.amount_cents
                             ELSE -entry.amount_cents END) AS cents
              FROM ledger_entry AS entry
              JOIN ledger_account AS account ON account.id = entry.account_id
             WHERE entry.effective_at >= %(as_of)s
             GROUP BY entry.account_id
"""


def balance_cents(*, book: str, account_type: str, currency: str, tenant_id: str = "", channel: str = "") -> int:
    """The balance of one account, positive on its normal side; 0 where it was never opened."""
    found = models.Balance.objects.filter(
        account__book_id=book,
        account__type=account_type,
        account__currency=currency,
        account__tenant_id=tenant_id,
        account__channel=channel,
    ).aggregate(total=_total("balance_cents"))
    return int(found["total"])


def with_balance(
    accounts: QuerySet[models.Account],
    *,
    as_of: datetime | None = None,
) -> "QuerySet[WithAnnotations[models.Account, HeldCents]]":
    """Annotate accounts with ``balance_cents``, in one statement and so of one moment."""
    held = _subtotal(models.Balance.objects.filter(account=OuterRef("pk")), "balance_cents")
    if as_of is None:
        return accounts.annotate(balance_cents=held)
    later = models.Entry.objects.filter(account=OuterRef("pk"), effective_at__gte=as_of).annotate(
        signed_cents=Case(
            When(entry_type=OuterRef("normal_side"), then=F("amount_cents")),
            default=-F("amount_cents"),
            output_field=BigIntegerField(),
        ),
    )
    return accounts.annotate(balance_cents=held - _subtotal(later, "signed_cents"))


def list_tenant_balances(*, tenant_id: str) -> list[TypeBalance]:
    """All balances of a tenant by book, currency and account type, in one statement."""
    rows = (
        models.Account.objects.filter(tenant_id=tenant_id)
        .order_by("book_id", "currency", "code")
        .values("book_id", "currency", "type", "code", "normal_side")
        .annotate(total=_total("balances__balance_cents"))
    )
    return [
        TypeBalance(
            book=row["book_id"],
            currency=row["currency"],
            account_type=row["type"],
            code=row["code"],
            normal_side=row["normal_side"],
            balance_cents=row["total"],
        )
        for row in rows
    ]


def tenant_balances(*, tenant_id: str) -> Mapping[tuple[str, str], int]:
    """The same by (currency, account type), over all books; types without an account are left out."""
    totals: dict[tuple[str, str], int] = {}
    for row in list_tenant_balances(tenant_id=tenant_id):
        key = (row.currency, row.account_type)
        totals[key] = totals.get(key, 0) + row.balance_cents
    return totals


def trial_balance(*, book: str, currency: str | None = None, as_of: datetime | None = None) -> list[TrialBalanceRow]:
    """The net balance of each account type of a book, by currency and code, in one statement."""
    statement = _TRIAL_BALANCE.format(later="" if as_of is None else _LATER_ENTRIES_UNDONE)
    with connection.cursor() as cursor:
        cursor.execute(statement, {"book": book, "currency": currency, "as_of": as_of})
        rows = cursor.fetchall()
    return [
        TrialBalanceRow(
            currency=row_currency,
            account_type=name,
            code=code,
            category=category,
            normal_side=normal_side,
            debit_cents=max(net_debit_cents, 0),
            credit_cents=max(-net_debit_cents, 0),
        )
        for row_currency, name, code, category, normal_side, net_debit_cents in rows
    ]


def trial_balance_totals(rows: Iterable[TrialBalanceRow]) -> list[TrialBalanceTotal]:
    """The sums of both columns, by currency."""
    sums: dict[str, tuple[int, int]] = {}
    for row in rows:
        debit_cents, credit_cents = sums.get(row.currency, (0, 0))
        sums[row.currency] = (debit_cents + row.debit_cents, credit_cents + row.credit_cents)
    return [
        TrialBalanceTotal(currency=currency, debit_cents=debit_cents, credit_cents=credit_cents)
        for currency, (debit_cents, credit_cents) in sorted(sums.items())
    ]


def _total(column: str) -> Coalesce:
    """The sum as BIGINT: PostgreSQL would answer NUMERIC, and Python a Decimal."""
    return Coalesce(Cast(Sum(column), BigIntegerField()), Value(0), output_field=BigIntegerField())


def _subtotal(rows: QuerySet[models.Balance] | QuerySet[models.Entry], column: str) -> Coalesce:
    total = rows.order_by().values("account").annotate(total=_total(column)).values("total")
    return Coalesce(Subquery(total), Value(0), output_field=BigIntegerField())
