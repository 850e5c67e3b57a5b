"""
What the books say: balances of accounts and tenants, the trial balance, now and at any earlier moment.

A balance now is read from balance rows. A balance ``as_of`` a moment is what the last closed period before it ended
with, and what the entries from there to the moment moved; before the first closing it is the balance now, less what the
entries from the moment on moved. Either way the cost is that of the open time, not of all history.

``as_of`` is half-open, as periods are: it counts what took effect before it, so that midnight of 1 December is the
close of November.
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


_NET_BY_TYPE: Final = """
    SELECT account.currency, line.name, line.code, line.category, line.normal_side,
           sum(CASE line.normal_side WHEN 'debit' THEN moved.cents ELSE -moved.cents END)::bigint AS net_debit_cents
      FROM moved
      JOIN ledger_account AS account ON account.id = moved.account_id
      JOIN ledger_account_type AS line ON line.name = account.type
     WHERE account.book_id = %(book)s
       AND (%(currency)s::text IS NULL OR account.currency = %(currency)s)
     GROUP BY account.currency, line.name, line.code, line.category, line.normal_side
     ORDER BY account.currency, line.code
"""

_MOVED_UNTIL_NOW: Final = """
    WITH moved AS (
        SELECT balance.account_id, balance.balance_cents AS cents
          FROM ledger_balance AS balance
    )
"""

# One statement, so one snapshot: a period that is reopened meanwhile is either read or not. The branches that the
# closing, or its absence, rules out are not executed at all.
_MOVED_BEFORE: Final = """
    WITH closing AS MATERIALIZED (
        SELECT period.id, period.ends_at
          FROM ledger_period AS period
         WHERE period.book_id = %(book)s AND period.state = 'closed' AND period.ends_at <= %(as_of)s
         ORDER BY period.ends_at DESC
         LIMIT 1
    ), moved AS (
        SELECT held.account_id, held.balance_cents AS cents
          FROM ledger_period_balance AS held
         WHERE held.period_id = (SELECT closing.id FROM closing)
        UNION ALL
        SELECT since.account_id, since.cents
          FROM (SELECT entry.account_id,
                       sum(CASE WHEN entry.entry_type = account.normal_side THEN entry.amount_cents
                                ELSE -entry.amount_cents END) AS cents
                  FROM ledger_entry AS entry
                  JOIN ledger_account AS account ON account.id = entry.account_id
                 WHERE entry.effective_at >= (SELECT closing.ends_at FROM closing)
                   AND entry.effective_at < %(as_of)s
                 GROUP BY entry.account_id) AS since
        UNION ALL
        SELECT balance.account_id, balance.balance_cents
          FROM ledger_balance AS balance
         WHERE NOT EXISTS (SELECT FROM closing)
        UNION ALL
        SELECT later.account_id, -later.cents
          FROM (SELECT entry.account_id,
                       sum(CASE WHEN entry.entry_type = account.normal_side THEN entry.amount_cents
                                ELSE -entry.amount_cents END) AS cents
                  FROM ledger_entry AS entry
                  JOIN ledger_account AS account ON account.id = entry.account_id
                 WHERE entry.effective_at >= %(as_of)s
                   AND NOT EXISTS (SELECT FROM closing)
                 GROUP BY entry.account_id) AS later
    )
"""


def balance_cents(
    *,
    book: str,
    account_type: str,
    currency: str,
    tenant_id: str = "",
    channel: str = "",
    as_of: datetime | None = None,
) -> int:
    """The balance of one account, now or before a moment, positive on its normal side; 0 where it was never opened."""
    accounts = models.Account.objects.filter(
        book_id=book,
        type=account_type,
        currency=currency,
        tenant_id=tenant_id,
        channel=channel,
    )
    return with_balance(accounts, as_of=as_of).values_list("balance_cents", flat=True).first() or 0


def with_balance(
    accounts: QuerySet[models.Account],
    *,
    as_of: datetime | None = None,
) -> "QuerySet[WithAnnotations[models.Account, HeldCents]]":
    """Annotate accounts with ``balance_cents``, in one statement and so of one moment."""
    held_now = _subtotal(models.Balance.objects.filter(account=OuterRef("pk")), "balance_cents")
    if as_of is None:
        return accounts.annotate(balance_cents=held_now)
    entries = models.Entry.objects.filter(account=OuterRef("pk")).annotate(
        signed_cents=Case(
            When(entry_type=OuterRef("normal_side"), then=F("amount_cents")),
            default=-F("amount_cents"),
            output_field=BigIntegerField(),
        ),
    )
    closing = models.Period.objects.filter(book=OuterRef("book"), state="closed", ends_at__lte=as_of).order_by(
        "-ends_at",
    )
    held_then = models.PeriodBalance.objects.filter(account=OuterRef("pk"), period=OuterRef("closing_id"))
    since = entries.filter(effective_at__gte=OuterRef("closed_until"), effective_at__lt=as_of)
    later = entries.filter(effective_at__gte=as_of)
    return accounts.annotate(
        closing_id=Subquery(closing.values("pk")[:1]),
        closed_until=Subquery(closing.values("ends_at")[:1]),
        balance_cents=Case(
            When(closing_id=None, then=held_now - _subtotal(later, "signed_cents")),
            default=_subtotal(held_then, "balance_cents") + _subtotal(since, "signed_cents"),
            output_field=BigIntegerField(),
        ),
    )


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
    statement = (_MOVED_UNTIL_NOW if as_of is None else _MOVED_BEFORE) + _NET_BY_TYPE
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


def _subtotal(
    rows: QuerySet[models.Balance] | QuerySet[models.Entry] | QuerySet[models.PeriodBalance],
    column: str,
) -> Coalesce:
    total = rows.order_by().values("account").annotate(total=_total(column)).values("total")
    return Coalesce(Subquery(total), Value(0), output_field=BigIntegerField())
