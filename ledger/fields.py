"""Columns that only the ledger has."""

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class TransactionNumberField(models.Field[int, int]):
    """The number of a database transaction: PostgreSQL's ``xid8``, which never wraps around, as an integer."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """PostgreSQL's name of it."""
        return "xid8"

    def from_db_value(self, value: Any, *context: Any) -> int | None:
        """The driver knows no such type and hands on its text."""
        return None if value is None else int(value)
