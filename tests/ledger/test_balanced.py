"""
Every transaction balances and is whole, every balance is the sum of its entries: attacked with rows written by hand.

The owner of the tables writes here, past the posting function; each attack is an honest transaction with one thing
changed, and the honest one is accepted.
"""

from datetime import timedelta

import psycopg
import pytest

from tests.ledger import rawsql


def refused(
    cursor: psycopg.Cursor,
    forgery: rawsql.Forgery,
    constraint: str,
    error: type[psycopg.Error] = psycopg.errors.CheckViolation,
) -> None:
    before = state(cursor)
    with pytest.raises(error) as caught:
        forgery.write(cursor)
    assert caught.value.diag.constraint_name == constraint
    assert state(cursor) == before


def state(cursor: psycopg.Cursor) -> list[tuple[object, ...]]:
    cursor.execute(
        "SELECT (SELECT count(*) FROM ledger_transaction), (SELECT count(*) FROM ledger_entry),"
        " (SELECT array_agg((balance_cents, last_seq) ORDER BY account_id, shard)::text FROM ledger_balance)",
    )
    return list(cursor.fetchall())


@pytest.fixture
def cursor(owner_cursor: psycopg.Cursor) -> psycopg.Cursor:
    """The owner's, in a ledger where acme already has a transaction."""
    rawsql.honest(owner_cursor, key="first").write(owner_cursor)
    return owner_cursor


class TestHonest:
    def test_is_accepted(self, cursor: psycopg.Cursor) -> None:
        rawsql.honest(cursor, key="second").write(cursor)
        cursor.execute(
            "SELECT array_agg(balance_cents ORDER BY id), array_agg(last_seq ORDER BY id) FROM ledger_balance"
        )
        assert cursor.fetchone() == ([200, 200], [2, 2])


class TestTransaction:
    def test_has_entries(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.entries, forgery.balances = [], []
        refused(cursor, forgery, "ledger_transaction_has_its_entries")

    def test_has_them_when_the_database_commits(self, committed_db: str, owner_cursor: psycopg.Cursor) -> None:
        header = rawsql.honest(owner_cursor, key="first").header
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            rawsql.insert(owner_cursor, "ledger_transaction", [header])
        assert caught.value.diag.constraint_name == "ledger_transaction_has_its_entries"
        assert state(owner_cursor)[0][:2] == (0, 0)

    def test_has_more_than_a_lone_entry(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.entries = forgery.entries[:1]
        forgery.settle()
        refused(cursor, forgery, "ledger_transaction_balances")

    def test_does_not_get_by_with_a_header_that_admits_to_one_entry(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.header["entry_count"] = 1
        forgery.entries = forgery.entries[:1]
        forgery.settle()
        refused(cursor, forgery, "ledger_transaction_has_two_entries")

    def test_has_equal_debits_and_credits(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.entries[1]["amount_cents"] = 99
        forgery.entries[1]["balance_after_cents"] -= 1
        forgery.settle()
        refused(cursor, forgery, "ledger_transaction_balances")

    def test_has_the_amount_that_its_header_says(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.header["amount_cents"] = 99
        refused(cursor, forgery, "ledger_transaction_balances")

    def test_has_as_many_entries_as_its_header_says(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.header["entry_count"] = 3
        refused(cursor, forgery, "ledger_transaction_is_whole")

    def test_numbers_its_lines_from_one(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        for entry in forgery.entries:
            entry["line_no"] += 1
        refused(cursor, forgery, "ledger_transaction_is_whole")

    def test_arrives_in_one_statement(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.header["id"] = rawsql.insert(cursor, "ledger_transaction", [forgery.header])
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            rawsql.Forgery(forgery.header, forgery.entries[:1], forgery.balances).write_entries(cursor)
        assert caught.value.diag.constraint_name == "ledger_transaction_balances"

    def test_takes_no_entries_afterwards(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        for entry in forgery.entries:
            entry["line_no"] += 2
        self.append(cursor, forgery, "ledger_transaction_is_whole")

    def test_takes_none_even_when_their_sum_is_the_same(self, cursor: psycopg.Cursor) -> None:
        self.append(cursor, rawsql.honest(cursor, key="second"), "ledger_entry_line_written_once")

    def append(self, cursor: psycopg.Cursor, forgery: rawsql.Forgery, constraint: str) -> None:
        cursor.execute("SELECT id FROM ledger_transaction WHERE idempotency_key = 'first'")
        row = cursor.fetchone()
        assert row is not None
        forgery.header["id"] = row[0]
        before = state(cursor)
        with pytest.raises(psycopg.IntegrityError) as caught, cursor.connection.transaction():
            forgery.write_entries(cursor)
        assert caught.value.diag.constraint_name == constraint
        assert state(cursor) == before

    def test_has_entries_of_its_own_date(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.entries[1]["effective_at"] += timedelta(days=31)
        refused(cursor, forgery, "ledger_entry_has_its_transactions_date")

    def test_is_not_booked_before_it_occurred(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        for row in [forgery.header, *forgery.entries]:
            row["effective_at"] -= timedelta(days=31)
        refused(cursor, forgery, "ledger_books_date_not_before_the_fact")

    def test_is_posted_once(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="first")
        refused(cursor, forgery, "ledger_fact_posted_once", psycopg.errors.UniqueViolation)

    @pytest.mark.parametrize(
        ("column", "value", "constraint"),
        [
            ("idempotency_key", "", "ledger_transaction_names_its_fact"),
            ("fingerprint", b"\0" * 31, "ledger_fingerprint_is_sha256"),
            ("currency", "usd", "ledger_transaction_currency_is_a_code"),
            ("amount_cents", 0, "ledger_transaction_moves_something"),
        ],
    )
    def test_has_well_formed_fields(
        self,
        cursor: psycopg.Cursor,
        column: str,
        value: object,
        constraint: str,
    ) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.header[column] = value
        refused(cursor, forgery, constraint)

    @pytest.fixture
    def first_id(self, cursor: psycopg.Cursor) -> int:
        cursor.execute("SELECT id FROM ledger_transaction")
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])

    def test_reverses_one_of_its_own_tenant(self, cursor: psycopg.Cursor, first_id: int) -> None:
        forgery = rawsql.opposite(cursor, key="second", of=first_id)
        forgery.header["tenant_id"] = "globex"
        refused(cursor, forgery, "ledger_reversal_matches_what_it_reverses", psycopg.errors.ForeignKeyViolation)

    def test_reverses_one_once(self, cursor: psycopg.Cursor, first_id: int) -> None:
        rawsql.opposite(cursor, key="second", of=first_id).write(cursor)
        again = rawsql.opposite(cursor, key="third", of=first_id)
        refused(cursor, again, "ledger_transaction_reversed_once", psycopg.errors.UniqueViolation)

    def test_reverses_one_with_its_exact_opposite(self, cursor: psycopg.Cursor, first_id: int) -> None:
        the_same = rawsql.honest(cursor, key="second")
        the_same.header["reverses_id"] = first_id
        refused(cursor, the_same, "ledger_reversal_is_the_exact_opposite")
        less = rawsql.opposite(cursor, key="second", of=first_id, amount_cents=99)
        refused(cursor, less, "ledger_reversal_is_the_exact_opposite")

    def test_does_not_reverse_itself(self, cursor: psycopg.Cursor) -> None:
        cursor.execute("SELECT nextval('ledger_transaction_id_seq')")
        row = cursor.fetchone()
        assert row is not None
        forgery = rawsql.honest(cursor, key="second")
        forgery.header |= {"id": row[0], "reverses_id": row[0]}
        refused(cursor, forgery, "ledger_reversal_is_the_exact_opposite")


class TestEntry:
    @pytest.mark.parametrize("amount_cents", [0, -100, 10**15 + 1])
    def test_has_an_amount_above_zero_and_below_reason(self, cursor: psycopg.Cursor, amount_cents: int) -> None:
        forgery = rawsql.honest(cursor, key="second", amount_cents=amount_cents)
        forgery.header["amount_cents"] = 100
        refused(cursor, forgery, "ledger_entry_amount_is_in_range")

    def test_is_a_debit_or_a_credit(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.entries[0]["entry_type"] = "both"
        refused(cursor, forgery, "ledger_entry_is_debit_or_credit")

    def test_in_dollars_stands_on_no_account_in_euros(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        in_euros = rawsql.account(cursor, "deferred_revenue", "acme-corp", currency="EUR")
        forgery.entries[1] = rawsql.entry(cursor, in_euros, "credit", 100, 2)
        forgery.settle()
        refused(cursor, forgery, "ledger_entry_matches_its_account", psycopg.errors.ForeignKeyViolation)

    def test_is_in_the_currency_of_its_transaction(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        in_euros = rawsql.account(cursor, "deferred_revenue", "acme-corp", currency="EUR")
        forgery.entries[1] = rawsql.entry(cursor, in_euros, "credit", 100, 2) | {"currency": "EUR"}
        forgery.settle()
        refused(cursor, forgery, "ledger_entry_matches_its_transaction", psycopg.errors.ForeignKeyViolation)

    def test_of_a_tenant_stands_on_no_other_tenants_account(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        of_globex = rawsql.account(cursor, "accounts_receivable", "globex")
        forgery.entries[0] = rawsql.entry(cursor, of_globex, "debit", 100, 1) | {"account_tenant_id": "globex"}
        forgery.settle()
        refused(cursor, forgery, "ledger_entry_stays_with_its_tenant")

    def test_cannot_lie_about_whose_account_it_is(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        of_globex = rawsql.account(cursor, "accounts_receivable", "globex")
        forgery.entries[0] = rawsql.entry(cursor, of_globex, "debit", 100, 1)
        forgery.settle()
        refused(cursor, forgery, "ledger_entry_matches_its_account", psycopg.errors.ForeignKeyViolation)

    def test_cannot_lie_about_whose_transaction_it_is(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        of_globex = rawsql.account(cursor, "accounts_receivable", "globex")
        forgery.entries[0] = rawsql.entry(cursor, of_globex, "debit", 100, 1) | {
            "account_tenant_id": "globex",
            "tenant_id": "globex",
        }
        forgery.settle()
        refused(cursor, forgery, "ledger_entry_matches_its_transaction", psycopg.errors.ForeignKeyViolation)

    def test_stays_in_its_book(self, cursor: psycopg.Cursor) -> None:
        cursor.execute("SELECT ledger_open_book('other', 'Other')")
        forgery = rawsql.honest(cursor, key="second")
        forgery.header["book_id"] = "other"
        refused(cursor, forgery, "ledger_entry_matches_its_transaction", psycopg.errors.ForeignKeyViolation)


class TestBalance:
    CONSTRAINT = "ledger_balance_is_the_sum_of_its_entries"

    def test_after_an_entry_is_not_forged(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.entries[0]["balance_after_cents"] += 1
        refused(cursor, forgery, self.CONSTRAINT)

    def test_is_not_forged_together_with_its_row(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.entries[0]["balance_after_cents"] += 1
        forgery.settle()
        refused(cursor, forgery, self.CONSTRAINT)

    def test_rises_on_the_accounts_normal_side(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        for entry in forgery.entries:
            entry["balance_after_cents"] -= 2 * entry["amount_cents"]
        forgery.settle()
        refused(cursor, forgery, self.CONSTRAINT)

    def test_skips_no_number(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.entries[0]["account_seq"] += 1
        forgery.settle()
        refused(cursor, forgery, self.CONSTRAINT)

    def test_begins_at_one(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        fresh = rawsql.account(cursor, "unbilled_receivable", "acme-corp")
        forgery.entries[0] = rawsql.entry(cursor, fresh, "debit", 100, 1) | {"account_seq": 2}
        forgery.settle()
        refused(cursor, forgery, self.CONSTRAINT)

    def test_begins_at_zero(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        fresh = rawsql.account(cursor, "unbilled_receivable", "acme-corp")
        forgery.entries[0] = rawsql.entry(cursor, fresh, "debit", 100, 1) | {"balance_after_cents": 1100}
        forgery.settle()
        refused(cursor, forgery, self.CONSTRAINT)

    def test_has_no_number_twice(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.entries[0]["account_seq"] = 1
        forgery.settle()
        refused(cursor, forgery, "ledger_entry_numbered_once", psycopg.errors.UniqueViolation)

    def test_moves_with_its_entries(self, cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(cursor, key="second")
        forgery.balances = []
        refused(cursor, forgery, self.CONSTRAINT)

    def test_chains_through_several_entries_of_one_statement(self, cursor: psycopg.Cursor) -> None:
        forgery = self.twice_on_each_account(cursor)
        forgery.write(cursor)
        cursor.execute("SELECT array_agg(balance_cents ORDER BY id) FROM ledger_balance")
        assert cursor.fetchone() == ([300, 300],)

    @pytest.mark.parametrize(("column", "shift"), [("balance_after_cents", 1), ("account_seq", 1)])
    def test_breaks_in_no_link_of_the_chain(self, cursor: psycopg.Cursor, column: str, shift: int) -> None:
        forgery = self.twice_on_each_account(cursor)
        forgery.entries[2][column] += shift
        forgery.settle()
        refused(cursor, forgery, self.CONSTRAINT)

    def twice_on_each_account(self, cursor: psycopg.Cursor) -> rawsql.Forgery:
        forgery = rawsql.honest(cursor, key="second")
        for entry in list(forgery.entries):
            forgery.entries.append(
                entry
                | {
                    "line_no": entry["line_no"] + 2,
                    "account_seq": entry["account_seq"] + 1,
                    "balance_after_cents": entry["balance_after_cents"] + entry["amount_cents"],
                },
            )
        forgery.header |= {"entry_count": 4, "amount_cents": 200}
        forgery.settle()
        return forgery

    def test_in_credit_does_not_pass_below_its_floor_on_the_way(self, cursor: psycopg.Cursor) -> None:
        prepaid = rawsql.account(cursor, "prepaid_credit", "acme-corp")
        forgery = rawsql.honest(cursor, key="second")
        down = rawsql.entry(cursor, prepaid, "debit", 100, 1) | {"balance_after_cents": -100}
        up = rawsql.entry(cursor, prepaid, "credit", 100, 2) | {"balance_after_cents": 0, "account_seq": 2}
        forgery.entries = [down, up]
        forgery.settle()
        refused(cursor, forgery, "ledger_balance_not_below_floor")

    def test_in_credit_does_not_stay_below_its_floor(self, cursor: psycopg.Cursor) -> None:
        prepaid = rawsql.account(cursor, "prepaid_credit", "acme-corp")
        forgery = rawsql.honest(cursor, key="second")
        forgery.entries[1] = rawsql.entry(cursor, prepaid, "debit", 100, 2) | {"balance_after_cents": -100}
        forgery.settle()
        refused(cursor, forgery, "ledger_balance_not_below_floor")

    def test_does_not_appear_out_of_nothing(self, cursor: psycopg.Cursor) -> None:
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            cursor.execute("UPDATE ledger_balance SET last_seq = 0")
        assert caught.value.diag.constraint_name == "ledger_balance_starts_at_zero"


class TestReplica:
    """A superuser who says to be replaying a replica switches ordinary triggers off, and ours not."""

    def test_writes_nothing_unbalanced(self, superuser_cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(superuser_cursor, key="first")
        forgery.entries[1]["amount_cents"] = 99
        forgery.entries[1]["balance_after_cents"] -= 1
        forgery.settle()
        superuser_cursor.execute("SET session_replication_role = replica")
        refused(superuser_cursor, forgery, "ledger_transaction_balances")

    def test_writes_no_header_without_entries(self, superuser_cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(superuser_cursor, key="first")
        forgery.entries, forgery.balances = [], []
        superuser_cursor.execute("SET session_replication_role = replica")
        refused(superuser_cursor, forgery, "ledger_transaction_has_its_entries")

    def test_forges_no_balance(self, superuser_cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(superuser_cursor, key="first")
        forgery.entries[0]["balance_after_cents"] += 1
        forgery.settle()
        superuser_cursor.execute("SET session_replication_role = replica")
        refused(superuser_cursor, forgery, "ledger_balance_is_the_sum_of_its_entries")


class TestAccount:
    @pytest.mark.parametrize(
        ("change", "error", "constraint"),
        [
            ({"normal_side": "debit"}, psycopg.errors.ForeignKeyViolation, "ledger_account_follows_the_chart"),
            ({"code": "1000"}, psycopg.errors.ForeignKeyViolation, "ledger_account_follows_the_chart"),
            ({"tenant_id": ""}, psycopg.errors.CheckViolation, "ledger_account_stands_in_its_scope"),
            ({"channel": "stripe"}, psycopg.errors.CheckViolation, "ledger_account_stands_in_its_scope"),
            ({"currency": "usd"}, psycopg.errors.CheckViolation, "ledger_account_currency_is_a_code"),
            ({"tenant_id": "acme-corp"}, psycopg.errors.UniqueViolation, "ledger_account_opened_once"),
        ],
    )
    def test_is_opened_by_the_chart(
        self,
        cursor: psycopg.Cursor,
        change: rawsql.Row,
        error: type[psycopg.Error],
        constraint: str,
    ) -> None:
        rawsql.account(cursor, "prepaid_credit", "acme-corp")
        row = {
            "book_id": "main",
            "type": "prepaid_credit",
            "code": "2200",
            "normal_side": "credit",
            "scope": "tenant",
            "currency": "USD",
            "tenant_id": "globex",
            "channel": "",
            "shard_count": 1,
        }
        with pytest.raises(error) as caught:
            rawsql.insert(cursor, "ledger_account", [row | change])
        assert caught.value.diag.constraint_name == constraint
