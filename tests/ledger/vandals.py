"""A superuser with every trigger off, who covers up afterwards, so that only the rows tell."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from ledger import protections


@contextmanager
def unguarded(cursor: psycopg.Cursor[Any]) -> Iterator[psycopg.Cursor[Any]]:
    """Nothing but keys and checks is left; foreign keys are triggers too."""
    tables = [sql.Identifier(table) for table in protections.TABLES]
    cursor.execute("SET session_replication_role = replica")
    for table in tables:
        cursor.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER ALL").format(table))
    yield cursor
    for table in tables:
        cursor.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER ALL").format(table))
    cursor.execute(
        "SELECT tgrelid::regclass::text, tgname FROM pg_trigger"
        " WHERE NOT tgisinternal AND tgrelid = ANY (%s::text[]::regclass[])",
        [list(protections.TABLES)],
    )
    for table_name, trigger in cursor.fetchall():
        always = sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}")
        cursor.execute(always.format(sql.Identifier(table_name), sql.Identifier(trigger)))
    cursor.execute("RESET session_replication_role")
