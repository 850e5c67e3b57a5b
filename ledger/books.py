"""Books: one set of accounts for each legal entity."""

import re

from django.db import connection

from billing_site.kernel import fields
from ledger import errors, models


def open_book(*, code: str, name: str) -> models.Book:
    """
    Open a book, or answer the one that has this code.

    Idempotency: by ``code``; the first name stays. Needs no open transaction.

    Raises:
        InvalidBookCode: the code is no code.
    """
    if not re.fullmatch(fields.CODE_PATTERN, code):
        raise errors.InvalidBookCode(f"a book's code is 1 to 64 of letters, digits and ._:-, not {code!r}")
    with errors.translated(), connection.cursor() as cursor:
        cursor.execute("SELECT public.ledger_open_book(%s, %s)", [code, name])
    return get_book(code)


def get_book(code: str) -> models.Book:
    """
    Answer the book.

    Raises:
        BookNotFound: there is none.
    """
    book = models.Book.objects.filter(code=code).first()
    if book is None:
        raise errors.BookNotFound(f"no book {code!r}")
    return book
