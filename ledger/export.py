"""
The general ledger as CSV: every entry of a book that took effect in a period, with what its transaction says of it.

Read through a cursor of the database and written a slice at a time, so that memory is bounded whatever the period, and
all of it is of one moment: a transaction that is posted meanwhile is in it with all its entries, or not at all.
"""

import csv
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import QuerySet, prefetch_related_objects

from billing_site.kernel import clock, ids
from ledger import chart, models

COLUMNS: Final = (
    "entry_id",
    "transaction_id",
    "effective_at",
    "occurred_at",
    "created_at",
    "account_code",
    "account_type",
    "account_id",
    "tenant_id",
    "channel",
    "currency",
    "debit_cents",
    "credit_cents",
    "kind",
    "reference_type",
    "reference_id",
    "description",
    "idempotency_key",
    "reverses_id",
)
SLICE: Final = 1000

# A spreadsheet takes a cell that begins so for a formula.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def list_entries(*, book: str, period_start: datetime, period_end: datetime) -> QuerySet[models.Entry]:
    """The entries of a book that took effect in the period, in the order of the books; one transaction's together."""
    return models.Entry.objects.filter(
        book_id=book,
        effective_at__gte=period_start,
        effective_at__lt=period_end,
    ).order_by("effective_at", "transaction_id", "line_no")


def stream_csv(*, book: str, period_start: datetime, period_end: datetime) -> Iterator[str]:
    """The header line, then a slice of lines at a time. Holds a read-only transaction open until it is through."""
    writer = csv.writer(_Line(), lineterminator="\r\n")
    yield writer.writerow(COLUMNS)
    for entries in _slices(list_entries(book=book, period_start=period_start, period_end=period_end)):
        yield "".join(writer.writerow(_cells(entry)) for entry in entries)


def file_name(book: str, period_start: datetime, period_end: datetime) -> str:
    """What the file of a period is called."""
    return f"ledger-{book}-{period_start:%Y%m%d}-{period_end:%Y%m%d}.csv"


def _slices(entries: QuerySet[models.Entry]) -> Iterator[list[models.Entry]]:
    """
    By a cursor that lives in its transaction, which needs no session: Django's own outlives it.

    The rest of a row is looked up a slice at a time. A join would leave it to the planner whether to read all
    transactions for the sake of a few.
    """
    statement, values = entries.query.sql_with_params()
    columns = [column.attname for column in models.Entry._meta.concrete_fields]  # noqa: SLF001  (a documented API)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DECLARE ledger_export NO SCROLL CURSOR FOR {statement}", values)
        while True:
            cursor.execute("FETCH FORWARD %s FROM ledger_export", [SLICE])
            found = [models.Entry.from_db(connection.alias, columns, row) for row in cursor.fetchall()]
            if not found:
                cursor.execute("CLOSE ledger_export")
                return
            prefetch_related_objects(found, "account", "transaction")
            yield found


def _cells(entry: models.Entry) -> list[str]:
    fact, account = entry.transaction, entry.account
    is_debit = entry.entry_type == chart.DEBIT
    return [
        entry.public_id,
        fact.public_id,
        clock.format_instant(entry.effective_at),
        clock.format_instant(fact.occurred_at),
        clock.format_instant(fact.created_at),
        account.code,
        account.type,
        account.public_id,
        _safe(account.tenant_id or fact.tenant_id),
        _safe(account.channel),
        entry.currency,
        str(entry.amount_cents) if is_debit else "",
        "" if is_debit else str(entry.amount_cents),
        _safe(fact.kind),
        _safe(fact.reference_type),
        _safe(fact.reference_id),
        _safe(fact.description),
        _safe(fact.idempotency_key),
        "" if fact.reverses_id is None else ids.encode_serial("txn", fact.reverses_id),
    ]


def _safe(text: str) -> str:
    """A caller's text, which no spreadsheet shall execute."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


class _Line:
    """A file that hands each line back to whoever wrote it."""

    def write(self, line: str) -> Any:
        return line
