"""Gapless numbers: one series per book, year and kind of document."""

from datetime import UTC, datetime
from typing import Final

from django.db import connection

INVOICE: Final = "invoice"
_PREFIXES: Final = {INVOICE: "INV"}
_NEXT: Final = """
    INSERT INTO invoicing_number_series AS series (book, year, kind, last_number) VALUES (%s, %s, %s, 1)
    ON CONFLICT (book, year, kind) DO UPDATE SET last_number = series.last_number + 1
    RETURNING last_number
"""


def next_number(*, book: str, kind: str, at: datetime) -> str:
    """
    Give the next number of a series, such as ``INV-2026-000042``; the year is that of ``at`` in UTC.

    Locks: the series, until the transaction ends; a rollback gives the number back, which is why there are no gaps.
    Take it last, so that others wait shortest. Requires an open transaction.
    """
    year = at.astimezone(UTC).year
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, [book, year, kind])
        (number,) = cursor.fetchone()
    return f"{_PREFIXES[kind]}-{year}-{number:06d}"
