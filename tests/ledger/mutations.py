"""
Takes the ledger's rules out of the database one at a time, and shows that the tests notice each.

    .venv/bin/python -m tests.ledger.mutations               every mutation; exits with 1 where one survives
    .venv/bin/python -m tests.ledger.mutations lock grant    those whose names hold one of these words
    .venv/bin/python -m tests.ledger.mutations --list

Each mutation is made to a copy of the migrated template, on which the ledger's tests then run until the first fails.
Tests that merely compare names with the catalogue are left out: what counts is that the rule's effect is missed.
"""

import argparse
import dataclasses
import importlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import django
import psycopg
import pytest
from psycopg import sql

from billing_site.embedded import postgres
from tests.support import services

PRISTINE = "billing_pristine"

# In stages, for speed: those that notice most of the mutations come first.
STAGES = (
    (
        "tests/ledger/test_append_only.py",
        "tests/ledger/test_balanced.py",
        "tests/ledger/test_keys.py",
        "tests/ledger/test_privileges.py",
        "tests/ledger/test_sealing.py::TestBlock",
    ),
    (
        "tests/ledger/test_concurrency.py",
        "tests/ledger/test_periods.py",
        "tests/ledger/test_posting_function.py",
        "tests/ledger/test_sealing.py",
    ),
    ("tests/ledger",),
)
PLAIN = ("-x", "-q", "--no-header", "--tb=no", "-rfE", "--assert=plain", "-Wignore::pytest.PytestAssertRewriteWarning")
# Tests that verify the ledger would notice each by its name, those of the catalogue too: their word does not count.
LEFT_OUT = (
    "--ignore=tests/ledger/test_verification.py",
    "--ignore=tests/ledger/test_posting_properties.py",
    "--deselect=tests/ledger/test_concurrency.py::TestOverlap::test_of_200_accounts_and_a_hot_one_by_eight_writers",
    "--deselect=tests/ledger/test_errors.py::TestRules::test_are_those_of_the_database",
)

TRIGGERS = """
    SELECT tgrelid::regclass::text, tgname FROM pg_trigger
     WHERE NOT tgisinternal AND tgrelid::regclass::text LIKE 'ledger\\_%' ORDER BY 1, 2
"""
# Django's own check of each PositiveIntegerField says nothing that the rules with names do not say more strictly.
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname FROM pg_constraint
     WHERE contype IN ('c', 'u', 'f') AND conname !~ '_check$' AND conrelid::regclass::text LIKE 'ledger\\_%'
     ORDER BY 1, 2
"""
UNIQUE_INDEXES = """
    SELECT indexrelid::regclass::text FROM pg_index
     WHERE indisunique AND indrelid::regclass::text LIKE 'ledger\\_%'
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u')) ORDER BY 1
"""
TABLES = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'ledger\\_%' ORDER BY 1"
CLOSED_FUNCTIONS = """
    SELECT oid::regprocedure::text, proname FROM pg_proc
     WHERE proname LIKE 'ledger\\_%' AND NOT has_function_privilege('billing_service', oid, 'EXECUTE') ORDER BY 1
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rewrite:
    """One passage of a function, and what stands there instead."""

    name: str
    function: str
    passage: str
    instead: str


REWRITES = (
    Rewrite(
        name="lock keys in the order given",
        function="ledger_post_transactions",
        passage="ORDER BY p_idempotency_keys[n], n",
        instead="ORDER BY n",
    ),
    Rewrite(
        name="lock balances in the order given",
        function="ledger_post_transactions",
        passage="ORDER BY balance.account_id, balance.shard\n",
        instead="ORDER BY account.position\n",
    ),
    Rewrite(
        name="lock no balances",
        function="ledger_post_transactions",
        passage="FOR NO KEY UPDATE OF balance",
        instead="",
    ),
    Rewrite(
        name="lock no book while posting",
        function="ledger_hold_book_open",
        passage="PERFORM pg_advisory_xact_lock_shared(27748, hashtext(p_book));",
        instead="",
    ),
    Rewrite(
        name="lock no book while closing",
        function="ledger_hold_book_alone",
        passage="PERFORM pg_advisory_xact_lock(27748, hashtext(p_book));",
        instead="",
    ),
    Rewrite(
        name="lock no chain while sealing",
        function="ledger_seal_next_block",
        passage="IF NOT pg_try_advisory_xact_lock(hashtextextended('ledger_block of ' || p_book, 0)) THEN",
        instead="IF false THEN",
    ),
    Rewrite(
        name="seal what is not settled",
        function="ledger_seal_next_block",
        passage="header.written_xid < pg_snapshot_xmin(pg_current_snapshot())",
        instead="true",
    ),
    Rewrite(
        name="seal in the order of ids",
        function="ledger_seal_next_block",
        passage="(header.written_xid, header.id) > (sealed_xid, sealed_id)",
        instead="header.id > sealed_id",
    ),
    Rewrite(
        name="seal other clusters by this one's numbers",
        function="ledger_seal_next_block",
        passage="writers_cluster <> here OR ",
        instead="",
    ),
)


def mutations(cursor: psycopg.Cursor[tuple[str, ...]]) -> Iterator[tuple[str, sql.Composed | sql.SQL]]:
    """All by name: of what stands in the database, and of the functions' passages."""
    for table, trigger in cursor.execute(TRIGGERS).fetchall():
        there = {"table": sql.Identifier(table), "trigger": sql.Identifier(trigger)}
        yield f"drop trigger {trigger}", sql.SQL("DROP TRIGGER {trigger} ON {table}").format(**there)
        weaker = sql.SQL("ALTER TABLE {table} ENABLE TRIGGER {trigger}").format(**there)
        yield f"spare replicas trigger {trigger}", weaker
    for table, name in cursor.execute(CONSTRAINTS).fetchall():
        dropped = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {} CASCADE")
        yield f"drop constraint {name}", dropped.format(sql.Identifier(table), sql.Identifier(name))
    for (name,) in cursor.execute(UNIQUE_INDEXES).fetchall():
        yield f"drop index {name}", sql.SQL("DROP INDEX {}").format(sql.Identifier(name))
    role = sql.Identifier(postgres.SERVICE_ROLE)
    for (table,), right in itertools.product(cursor.execute(TABLES).fetchall(), ("INSERT", "UPDATE", "DELETE")):
        granted = sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(right), sql.Identifier(table), role)
        yield f"grant {right} on {table}", granted
    for signature, name in cursor.execute(CLOSED_FUNCTIONS).fetchall():
        yield f"grant EXECUTE on {name}", sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(sql.SQL(signature), role)
    for rewrite in REWRITES:
        cursor.execute("SELECT pg_get_functiondef(to_regproc(%s))", [rewrite.function])
        (definition,) = cursor.fetchone() or ("",)
        if rewrite.passage not in (definition or ""):
            raise SystemExit(f"{rewrite.name}: {rewrite.function} has no passage {rewrite.passage!r}")
        yield rewrite.name, sql.SQL(definition.replace(rewrite.passage, rewrite.instead))


@contextmanager
def superuser(running: services.Services, database: str) -> Iterator[psycopg.Cursor[tuple[str, ...]]]:
    """A raw cursor on one of the databases, which are nobody else's."""
    url = running.cluster.url(role=postgres.SUPERUSER, database=database)
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        yield cursor


def copy(running: services.Services, *, source: str, target: str) -> None:
    """Make one database anew from another."""
    with superuser(running, "postgres") as cursor:
        cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(target)))
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
        cursor.execute(made.format(*map(sql.Identifier, (target, source, postgres.OWNER_ROLE))))


def first_failure(running: services.Services) -> str | None:
    """The first test that fails on the template as it is now; none where all pass."""
    log = running.folder / "mutation.log"
    for stage in STAGES:
        child = os.fork()
        if child == 0:
            _become_pytest(log, stage)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            told = log.read_text()
            lines = [line for line in told.splitlines() if line.startswith(("FAILED ", "ERROR "))]
            if not lines:
                raise SystemExit(f"pytest did not run:\n{told[-4000:]}")
            return lines[0].split(" - ")[0].split(" ", 1)[1]
    return None


def _become_pytest(log: Path, stage: Sequence[str]) -> NoReturn:
    """In a child that has everything imported already; the servers stay its parent's."""
    services._processes.clear()
    os.environ["PYTEST_XDIST_WORKER"] = "gw0"
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    code = pytest.main([*PLAIN, *stage, *LEFT_OUT])
    sys.stdout.flush()
    os._exit(int(code))


def preload(running: services.Services) -> None:
    """Import what every test needs, once instead of for each mutation."""
    os.environ.update(running.environment(running.database), DJANGO_SETTINGS_MODULE="billing_site.settings")
    django.setup()
    importlib.import_module("billing_site.urls")


def attempt(running: services.Services, name: str, change: sql.Composed | sql.SQL) -> bool:
    """Mutate, test, tell; whether a test noticed."""
    copy(running, source=PRISTINE, target=services.TEMPLATE)
    with superuser(running, services.TEMPLATE) as cursor:
        cursor.execute(change)
    begun = time.monotonic()
    noticed_by = first_failure(running)
    verdict = f"noticed by {noticed_by}" if noticed_by else "SURVIVES"
    print(f"{name}: {verdict} ({time.monotonic() - begun:.0f} s)", flush=True)  # noqa: T201
    return noticed_by is not None


def main() -> int:
    """Run those asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only mutations whose names hold one of these")
    parser.add_argument("--at-once", action="store_true", help="do not run the tests without a mutation first")
    parser.add_argument("--list", action="store_true", help="name the mutations and run none")
    asked = parser.parse_args()
    # The children find themselves to be the first worker, whose database the settings must then name.
    running = services._services = dataclasses.replace(services._start(), worker=1)
    try:
        preload(running)
        running.create_database(PRISTINE)
        with superuser(running, PRISTINE) as cursor:
            named = dict(mutations(cursor))
        chosen = {
            name: change for name, change in named.items() if not asked.words or any(w in name for w in asked.words)
        }
        if asked.list:
            print(*chosen, sep="\n")  # noqa: T201
            return 0
        failure = None if asked.at_once else first_failure(running)
        if failure is not None:
            print(f"without any mutation: {failure} fails")  # noqa: T201
            return 1
        survivors = [name for name, change in chosen.items() if not attempt(running, name, change)]
    finally:
        services.pytest_unconfigure()
    summary = {"mutations": len(chosen), "noticed": len(chosen) - len(survivors), "survivors": survivors}
    print(json.dumps(summary))  # noqa: T201
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
