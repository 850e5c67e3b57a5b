"""What the service's role owns (nothing), may read (all), may call (five functions), and cannot trick them into."""

from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.db.utils import ProgrammingError

from billing_site.embedded import postgres
from ledger import apps, balances, books, errors, models
from tests.factories import ledger as factories

TABLES = {
    "ledger_account",
    "ledger_account_type",
    "ledger_block",
    "ledger_balance",
    "ledger_book",
    "ledger_entry",
    "ledger_period",
    "ledger_period_balance",
    "ledger_transaction",
}


def ask(statement: str, *values: Any) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows: list[tuple[object, ...]] = cursor.fetchall()
    return rows


@pytest.mark.django_db
class TestOwnership:
    def test_is_not_the_services(self) -> None:
        owned = ask(
            """
            SELECT relname FROM pg_class WHERE relowner = %s::regrole
            UNION ALL SELECT proname FROM pg_proc WHERE proowner = %s::regrole
            UNION ALL SELECT nspname FROM pg_namespace WHERE nspowner = %s::regrole
            UNION ALL SELECT datname FROM pg_database WHERE datdba = %s::regrole
            """,
            *[postgres.SERVICE_ROLE] * 4,
        )
        assert owned == []

    def test_gives_no_way_round(self) -> None:
        assert ask("SELECT current_user") == [(postgres.SERVICE_ROLE,)]
        assert ask(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname = current_user",
        ) == [(False, False, False, False, False)]
        assert ask("SELECT roleid::regrole FROM pg_auth_members WHERE member = current_user::regrole") == []
        assert ask("SELECT has_schema_privilege('public', 'CREATE')") == [(False,)]


@pytest.mark.django_db
class TestTables:
    def test_are_named_each_with_its_privileges(self) -> None:
        stored = {name for (name,) in ask("SELECT tablename FROM pg_tables WHERE tablename LIKE 'ledger\\_%%'")}
        assert stored == TABLES == set(apps.LedgerConfig.service_privileges)

    @pytest.mark.parametrize("table", sorted(TABLES))
    def test_may_be_read_and_nothing_else(self, table: str) -> None:
        privileges = ask(
            """
            SELECT privilege FROM unnest(%s::text[]) AS privilege
             WHERE CASE WHEN privilege IN ('DELETE', 'TRUNCATE', 'TRIGGER')
                        THEN has_table_privilege(%s, privilege)
                        ELSE has_any_column_privilege(%s, privilege) END
            """,
            ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"],
            table,
            table,
        )
        assert privileges == [("SELECT",)]

    def test_keep_their_sequences_to_themselves(self) -> None:
        usable = ask(
            "SELECT relname FROM pg_class WHERE relname LIKE 'ledger\\_%%'"
            " AND CASE WHEN relkind = 'S' THEN has_sequence_privilege(oid, 'USAGE, UPDATE') END",
        )
        assert usable == []


@pytest.mark.django_db
class TestFunctions:
    def test_of_five_may_be_called(self) -> None:
        callable_ = ask(
            "SELECT proname FROM pg_proc WHERE proname LIKE 'ledger\\_%%' AND has_function_privilege(oid, 'EXECUTE')"
            " ORDER BY proname",
        )
        assert [name for (name,) in callable_] == [
            "ledger_close_period",
            "ledger_open_book",
            "ledger_post_transactions",
            "ledger_reopen_period",
            "ledger_seal_next_block",
        ]

    def test_run_as_their_owner_with_a_search_path_of_their_own(self) -> None:
        loose = ask(
            "SELECT proname FROM pg_proc WHERE proname LIKE 'ledger\\_%%'"
            " AND NOT (prosecdef AND 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}')))",
        )
        assert loose == []

    def test_of_the_inside_are_refused(self) -> None:
        with pytest.raises(ProgrammingError) as caught, transaction.atomic():
            ask("SELECT ledger_open_accounts('main', '{cash}', '{USD}', '{\"\"}', '{\"\"}')")
        assert isinstance(caught.value.__cause__, psycopg.errors.InsufficientPrivilege)


class TestTablesOfTheCaller:
    def test_lead_no_function_astray(self, committed_db: str, superuser_cursor: psycopg.Cursor) -> None:
        superuser_cursor.execute(f"GRANT TEMPORARY ON DATABASE {committed_db} TO {postgres.SERVICE_ROLE}")
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE ledger_balance (account_id bigint, shard int, balance_cents bigint)")
            cursor.execute("CREATE TEMP TABLE ledger_entry (id bigint)")
            cursor.execute("SET search_path = pg_temp, public")
            factories.TransactionFactory(amount_cents=70)
            cursor.execute("SELECT count(*) FROM pg_temp.ledger_entry")
            assert cursor.fetchone() == (0,)
            cursor.execute("DROP TABLE pg_temp.ledger_balance, pg_temp.ledger_entry")
        assert balances.balance_cents(book="main", account_type="usage_revenue", currency="USD") == 70


@pytest.mark.django_db
class TestOpenBook:
    def test_opens_a_book_once(self) -> None:
        first = books.open_book(code="acme-eu", name="Acme Europe")
        again = books.open_book(code="acme-eu", name="Something else")
        assert (first.code, again.name) == ("acme-eu", "Acme Europe")
        assert first.created_at == again.created_at

    @pytest.mark.parametrize("code", ["", "two words", "x" * 65, "ünïcode"])
    def test_refuses_what_is_no_code(self, code: str) -> None:
        with pytest.raises(errors.InvalidBookCode):
            books.open_book(code=code, name="x")
        assert models.Book.objects.count() == 1

    def test_finds_main_in_a_new_ledger(self) -> None:
        assert books.get_book("main").code == "main"
        with pytest.raises(errors.BookNotFound):
            books.get_book("nowhere")
