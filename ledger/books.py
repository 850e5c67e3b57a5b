"""Books: one set of accounts for each legal entity."""

from django.db import connection

from ledger import errors, models


def open_book(*, code: str, name: str) -> models.Book:
    """
    Open a book, or answer the one that has this code.

    Idempotency: by ``code``; the first name stays. Needs no open transaction.

    Raises:
        MalformedTransaction: the code is no code.
    """
    with connection.cursor() as cursor:
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
