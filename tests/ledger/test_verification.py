"""It finds every edit, deletion and insertion that a superuser makes with all triggers off, and names the row."""

import io
import json
import os
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from billing_site.kernel import ids
from ledger import books, models, periods, protections, verification, verification_sql
from tests.factories import ledger as factories
from tests.ledger import rawsql, sealed, vandals

HEADER_EDITS = (
    "id = 1000",
    "book_id = 'other'",
    "idempotency_key = 'x'",
    "fingerprint = sha256('x')",
    "kind = 'x'",
    "tenant_id = 'globex'",
    "currency = 'EUR'",
    "occurred_at = occurred_at - interval '1 day'",
    "effective_at = effective_at + interval '1 day'",
    "created_at = created_at + interval '1 day'",
    "reference_type = 'x'",
    "reference_id = 'x'",
    "description = 'x'",
    'metadata = \'{"x": "x"}\'',
    "entry_count = 3",
    "amount_cents = 99",
    "reverses_id = 1",
    "written_xid = '9'",
    "system_identifier = 9",
)
ENTRY_EDITS = (
    "id = 1000",
    "transaction_id = 1000",
    "line_no = 3",
    "book_id = 'other'",
    "currency = 'EUR'",
    "tenant_id = 'globex'",
    "account_id = 1000",
    "account_tenant_id = ''",
    "shard = 1",
    "entry_type = CASE entry_type WHEN 'debit' THEN 'credit' ELSE 'debit' END",
    "amount_cents = 99",
    "account_seq = 1000",
    "balance_after_cents = 99",
    "effective_at = effective_at + interval '1 day'",
)
UNSEEN_UNTIL_SEALED = {
    "id",
    "idempotency_key",
    "fingerprint",
    "kind",
    "occurred_at",
    "created_at",
    "reference_type",
    "reference_id",
    "description",
    "metadata",
    "written_xid",
    "system_identifier",
}


def faults(**options: Any) -> dict[str, str]:
    report = verification.verify_ledger(**options)
    assert report.needs_person is bool(report.faults)
    return {fault.kind: fault.row for fault in report.faults}


def after(cursor: psycopg.Cursor[Any], *attacks: str) -> dict[str, str]:
    """What is found after these statements of a superuser."""
    with vandals.unguarded(cursor):
        for attack in attacks:
            cursor.execute(attack)
    return faults()


@pytest.fixture
def posted(committed_db: str) -> list[models.Transaction]:
    """Six sealed transactions in two blocks, and two that are not sealed yet."""
    made: list[models.Transaction] = []
    for number in range(8):
        made.append(factories.TransactionFactory(debit="cash", credit="prepaid_credit", amount_cents=100))
        if number in {2, 5}:
            sealed.seal()
    return made


@pytest.fixture
def vandal(posted: list[models.Transaction], superuser_cursor: psycopg.Cursor[Any]) -> psycopg.Cursor[Any]:
    return superuser_cursor


def txn(row: models.Transaction) -> str:
    return ids.encode_serial("txn", row.pk)


def ent(row: models.Transaction, line_no: int) -> str:
    return ids.encode_serial("ent", row.entries.get(line_no=line_no).pk)


class TestWholeLedger:
    def test_has_no_fault(self, posted: list[models.Transaction]) -> None:
        heads = [
            verification.ChainHead(book="main", number=block.number, hash=block.hash_hex)
            for block in models.Block.objects.order_by("number")
        ]
        assert verification.verify_ledger(known_heads=heads) == verification.VerificationReport(
            account_count=2,
            entry_count=16,
            transaction_count=8,
            block_count=2,
            unsealed_count=2,
            heads=heads[1:],
            faults=[],
            needs_person=False,
        )

    def test_is_read_in_pages(self, posted: list[models.Transaction], monkeypatch: pytest.MonkeyPatch) -> None:
        whole = verification.verify_ledger()
        for size in (1, 2, 3, 8):
            for name in ("ENTRIES_A_PAGE", "TRANSACTIONS_A_PAGE", "ROWS_A_PAGE"):
                monkeypatch.setattr(verification, name, size)
            assert verification.verify_ledger() == whole

    def test_may_be_empty(self, committed_db: str) -> None:
        assert faults() == {}

    def test_is_read_at_one_moment(self, posted: list[models.Transaction]) -> None:
        def post_meanwhile(done: int, total: int | None, what: str) -> None:
            seen.append((done, total, what))
            with psycopg.connect(os.environ["OWNER_DATABASE_URL"]) as session, session.cursor() as cursor:
                rawsql.honest(cursor, key=f"meanwhile:{len(seen)}").write(cursor)

        seen: list[tuple[int, int | None, str]] = []
        assert faults(progress=post_meanwhile) == {}
        assert seen[0] == (16, 16, "entries")
        assert models.Transaction.objects.count() > 8
        assert faults() == {}


class TestEdit:
    """One column of one row; the seal tells it of sealed rows, the sums tell it of all."""

    def test_covers_all_columns(self) -> None:
        for model, edits in ((models.Transaction, HEADER_EDITS), (models.Entry, ENTRY_EDITS)):
            columns = {column.column for column in model._meta.concrete_fields}
            assert columns == {edit.split(" = ")[0] for edit in edits}

    @pytest.mark.parametrize("edit", HEADER_EDITS)
    def test_of_a_sealed_transaction(
        self,
        posted: list[models.Transaction],
        vandal: psycopg.Cursor[Any],
        edit: str,
    ) -> None:
        found = after(vandal, f"UPDATE ledger_transaction SET {edit} WHERE id = {posted[4].pk}")
        if edit.split(maxsplit=1)[0] in {
            "book_id",
            "written_xid",
            "system_identifier",
        }:  # moved elsewhere in the order of sealing
            assert {"sealed_transaction_is_missing_before", "transaction_was_slipped_under_the_seal"} & set(found)
        else:
            row_id = 1000 if edit == "id = 1000" else posted[4].pk
            kinds = {
                "sealed_transaction_was_edited",
                "sealed_transaction_is_missing_before",
                "sealed_transaction_is_missing",
            }
            assert kinds & set(found), found
            if "sealed_transaction_was_edited" in found:
                assert found["sealed_transaction_was_edited"] == f"{ids.encode_serial('txn', row_id)} in main block 2"

    @pytest.mark.parametrize("edit", ENTRY_EDITS)
    def test_of_an_entry_of_a_sealed_transaction(
        self,
        posted: list[models.Transaction],
        vandal: psycopg.Cursor[Any],
        edit: str,
    ) -> None:
        line_no = (
            1 if edit.startswith("tenant_id") else 2
        )  # the other would break a CHECK, which no trigger switches off
        where = f"transaction_id = {posted[4].pk} AND line_no = {line_no}"
        found = after(vandal, f"UPDATE ledger_entry SET {edit} WHERE {where}")
        assert found["sealed_transaction_was_edited"] == f"{txn(posted[4])} in main block 2"

    @pytest.mark.parametrize("edit", [edit for edit in HEADER_EDITS if edit.split()[0] not in UNSEEN_UNTIL_SEALED])
    def test_of_a_transaction_that_is_not_sealed_yet(
        self,
        posted: list[models.Transaction],
        vandal: psycopg.Cursor[Any],
        edit: str,
    ) -> None:
        assert after(vandal, f"UPDATE ledger_transaction SET {edit} WHERE id = {posted[7].pk}")

    @pytest.mark.parametrize("edit", [edit for edit in ENTRY_EDITS if edit != "id = 1000"])
    def test_of_an_entry_that_is_not_sealed_yet(
        self,
        posted: list[models.Transaction],
        vandal: psycopg.Cursor[Any],
        edit: str,
    ) -> None:
        line_no = 1 if edit.startswith("tenant_id") else 2
        where = f"transaction_id = {posted[7].pk} AND line_no = {line_no}"
        assert after(vandal, f"UPDATE ledger_entry SET {edit} WHERE {where}")

    @pytest.mark.parametrize(
        ("attack", "kind"),
        [
            ("UPDATE ledger_balance SET balance_cents = 801 WHERE {cash}", "balance_is_not_the_sum_of_its_entries"),
            ("UPDATE ledger_balance SET last_seq = 9 WHERE {cash}", "balance_is_not_the_sum_of_its_entries"),
            ("UPDATE ledger_balance SET floor_cents = 0 WHERE {cash}", "balance_has_another_floor_than_the_chart"),
            ("UPDATE ledger_balance SET account_id = 1000 WHERE {cash}", "balance_has_no_account"),
            ("UPDATE ledger_balance SET shard = 1 WHERE {cash}", "balance_is_no_shard"),
            ("UPDATE ledger_account SET currency = 'EUR'", "entry_differs_from_its_account"),
            ("UPDATE ledger_account SET tenant_id = 'globex' WHERE scope = 'tenant'", "entry_differs_from_its_account"),
            ("UPDATE ledger_account SET book_id = 'other'", "account_has_no_book"),
            ("UPDATE ledger_account SET code = '9999'", "account_differs_from_the_chart"),
            (
                "UPDATE ledger_account SET type = 'breakage', code = '4020' WHERE type = 'cash'",
                "sealed_transaction_was_edited",
            ),
            ("UPDATE ledger_account SET shard_count = 2", "account_lacks_a_balance"),
            ("UPDATE ledger_account_type SET floor_cents = NULL", "chart_differs_from_the_code"),
            ("UPDATE ledger_account_type SET normal_side = 'debit'", "chart_differs_from_the_code"),
            ("UPDATE ledger_book SET code = 'other'", "transaction_has_no_book"),
            ("UPDATE ledger_block SET hash = sha256('x') WHERE number = 2", "block_differs_from_its_hash"),
            ("UPDATE ledger_block SET sealed_at = now() WHERE number = 1", "block_differs_from_its_hash"),
            ("UPDATE ledger_block SET number = 3 WHERE number = 2", "block_numbers_have_a_gap"),
            ("UPDATE ledger_block SET previous_hash = sha256('x') WHERE number = 2", "block_is_not_chained"),
            ("UPDATE ledger_block SET digests = reverse_bytes", "block_differs_from_its_hash"),
        ],
    )
    def test_of_any_other_table(self, vandal: psycopg.Cursor[Any], attack: str, kind: str) -> None:
        cash = "account_id = (SELECT id FROM ledger_account WHERE type = 'cash')"
        digests = "substr(digests, 33) || substr(digests, 1, 32)"
        assert kind in after(vandal, attack.replace("{cash}", cash).replace("reverse_bytes", digests))

    def test_of_amounts_on_both_sides_and_all_that_follows_them(
        self,
        posted: list[models.Transaction],
        vandal: psycopg.Cursor[Any],
    ) -> None:
        """Every sum agrees again; only the seal tells."""
        found = after(
            vandal,
            f"UPDATE ledger_transaction SET amount_cents = 50 WHERE id = {posted[4].pk}",
            f"UPDATE ledger_entry SET amount_cents = 50 WHERE transaction_id = {posted[4].pk}",
            "UPDATE ledger_entry SET balance_after_cents = balance_after_cents - 50"
            f" WHERE transaction_id >= {posted[4].pk}",
            "UPDATE ledger_balance SET balance_cents = balance_cents - 50",
        )
        assert found == {"sealed_transaction_was_edited": f"{txn(posted[4])} in main block 2"}

    def test_that_forges_the_chain_from_there_on_is_told_by_a_head_kept_elsewhere(
        self,
        posted: list[models.Transaction],
        vandal: psycopg.Cursor[Any],
    ) -> None:
        kept = verification.verify_ledger().heads
        with vandals.unguarded(vandal):
            vandal.execute(f"UPDATE ledger_transaction SET description = 'x' WHERE id = {posted[4].pk}")
            vandal.execute("DELETE FROM ledger_block WHERE number = 2")
        assert faults() == {}
        assert faults(known_heads=kept) == {"known_head_is_missing": "main block 2"}
        sealed.seal()
        assert faults() == {}
        assert faults(known_heads=kept) == {"known_head_differs": "main block 2"}


class TestDeletion:
    def test_of_a_sealed_transaction(self, posted: list[models.Transaction], vandal: psycopg.Cursor[Any]) -> None:
        found = after(vandal, f"DELETE FROM ledger_transaction WHERE id = {posted[4].pk}")
        assert found == {
            "entry_has_no_transaction": ent_of(posted[4].pk),
            "sealed_transaction_is_missing_before": f"{txn(posted[5])} in main block 2",
        }

    def test_of_the_last_transaction(self, posted: list[models.Transaction], vandal: psycopg.Cursor[Any]) -> None:
        found = after(vandal, f"DELETE FROM ledger_transaction WHERE id = {posted[7].pk}")
        assert found == {"entry_has_no_transaction": ent_of(posted[7].pk)}

    def test_of_the_last_sealed_transaction(
        self,
        posted: list[models.Transaction],
        vandal: psycopg.Cursor[Any],
    ) -> None:
        found = after(vandal, f"DELETE FROM ledger_transaction WHERE id = {posted[5].pk}")
        assert found["sealed_transaction_is_missing"] == "the last in main block 2"

    def test_of_an_entry(self, posted: list[models.Transaction], vandal: psycopg.Cursor[Any]) -> None:
        next_entry = ent(posted[5], 2)
        found = after(vandal, f"DELETE FROM ledger_entry WHERE transaction_id = {posted[4].pk} AND line_no = 2")
        assert found["entry_numbers_have_a_gap"] == next_entry
        assert found["transaction_is_not_whole"] == txn(posted[4])
        assert found["transaction_does_not_balance"] == txn(posted[4])

    def test_of_the_last_transaction_with_its_entries(
        self,
        posted: list[models.Transaction],
        vandal: psycopg.Cursor[Any],
    ) -> None:
        found = after(
            vandal,
            f"DELETE FROM ledger_entry WHERE transaction_id = {posted[7].pk}",
            f"DELETE FROM ledger_transaction WHERE id = {posted[7].pk}",
        )
        assert set(found) == {"balance_is_not_the_sum_of_its_entries"}

    def test_of_a_sealed_transaction_with_all_its_traces(
        self,
        posted: list[models.Transaction],
        vandal: psycopg.Cursor[Any],
    ) -> None:
        found = after(
            vandal,
            "DELETE FROM ledger_entry WHERE transaction_id >= " + str(posted[5].pk),
            "DELETE FROM ledger_transaction WHERE id >= " + str(posted[5].pk),
            "UPDATE ledger_balance SET balance_cents = 500, last_seq = 5",
        )
        assert found == {"sealed_transaction_is_missing": "the last in main block 2"}

    @pytest.mark.parametrize(
        ("table", "kind"),
        [
            ("ledger_balance", "entry_has_no_balance"),
            ("ledger_account", "entry_has_no_account"),
            ("ledger_account_type", "chart_differs_from_the_code"),
            ("ledger_book", "transaction_has_no_book"),
            ("ledger_transaction", "entry_has_no_transaction"),
            ("ledger_entry", "transaction_is_not_whole"),
        ],
    )
    def test_of_all_rows(self, vandal: psycopg.Cursor[Any], table: str, kind: str) -> None:
        assert kind in after(vandal, f"DELETE FROM {table}")

    def test_of_everything_but_the_blocks(self, vandal: psycopg.Cursor[Any]) -> None:
        found = after(vandal, *(f"DELETE FROM {table}" for table in protections.TABLES if table != "ledger_block"))
        assert found["sealed_transaction_is_missing"] == "the last in main block 1"

    def test_of_a_block(self, vandal: psycopg.Cursor[Any]) -> None:
        found = after(vandal, "DELETE FROM ledger_block WHERE number = 1")
        assert found["block_numbers_have_a_gap"] == found["block_is_not_chained"] == "main block 2"


def ent_of(transaction_id: int) -> str:
    first = models.Entry.objects.filter(transaction_id=transaction_id).order_by("account_id").first()
    assert first is not None
    return ids.encode_serial("ent", first.pk)


class TestInsertion:
    def forge(self, cursor: psycopg.Cursor[Any], **header: Any) -> rawsql.Forgery:
        forgery = rawsql.honest(cursor, key="forged")
        forgery.header |= header
        return forgery

    def test_under_the_seal(self, posted: list[models.Transaction], vandal: psycopg.Cursor[Any]) -> None:
        forgery = self.forge(vandal, written_xid=str(posted[4].written_xid))
        with vandals.unguarded(vandal):
            forgery.write(vandal)
        row = f"{ids.encode_serial('txn', forgery.header['id'])} in main block 2"
        assert faults() == {"transaction_was_slipped_under_the_seal": row}

    def test_of_what_does_not_balance(self, vandal: psycopg.Cursor[Any]) -> None:
        forgery = self.forge(vandal)
        forgery.entries[1]["amount_cents"] = 99
        forgery.entries[1]["balance_after_cents"] = 99
        forgery.settle()
        with vandals.unguarded(vandal):
            forgery.write(vandal)
        row = ids.encode_serial("txn", forgery.header["id"])
        assert faults() == {"transaction_does_not_balance": row, "book_does_not_balance": "main USD"}

    def test_of_a_header_alone(self, vandal: psycopg.Cursor[Any]) -> None:
        forgery = self.forge(vandal)
        forgery.entries, forgery.balances = [], []
        with vandals.unguarded(vandal):
            forgery.write(vandal)
        row = ids.encode_serial("txn", forgery.header["id"])
        assert faults() == {"transaction_is_not_whole": row, "transaction_does_not_balance": row}

    @pytest.mark.parametrize(
        ("change", "kind"),
        [
            ({"account_seq": 5}, "entry_numbers_have_a_gap"),
            ({"balance_after_cents": 101}, "running_balance_is_not_the_sum"),
            ({"currency": "EUR"}, "entry_differs_from_its_account"),
            ({"book_id": "other"}, "entry_differs_from_its_transaction"),
            ({"tenant_id": "globex", "account_tenant_id": "acme-corp"}, "entry_differs_from_its_transaction"),
            ({"account_tenant_id": ""}, "entry_differs_from_its_account"),
            ({"effective_at": "2026-12-01T00:00:00Z"}, "entry_has_another_date_than_its_transaction"),
            ({"shard": 3}, "entry_has_no_balance"),
            ({"line_no": 7}, "transaction_is_not_whole"),
        ],
    )
    def test_of_an_entry_that_breaks_a_rule(self, vandal: psycopg.Cursor[Any], change: rawsql.Row, kind: str) -> None:
        forgery = self.forge(vandal)
        forgery.entries[0] |= change
        with vandals.unguarded(vandal):
            vandal.execute("ALTER TABLE ledger_entry DROP CONSTRAINT ledger_entry_stays_with_its_tenant")
            forgery.write(vandal)
        assert kind in faults()

    def test_of_another_tenants_receivable(self, vandal: psycopg.Cursor[Any]) -> None:
        vandal.execute("ALTER TABLE ledger_entry DROP CONSTRAINT ledger_entry_stays_with_its_tenant")
        forgery = self.forge(vandal)
        theirs = rawsql.account(vandal, "accounts_receivable", "globex")
        forgery.entries[0] |= {"account_id": theirs, "account_tenant_id": "globex"}
        forgery.settle()
        with vandals.unguarded(vandal):
            forgery.write(vandal)
        assert set(faults()) == {"protection_is_off", "entry_touches_another_tenant"}

    def test_of_a_balance_below_its_floor(self, vandal: psycopg.Cursor[Any]) -> None:
        vandal.execute("ALTER TABLE ledger_balance DROP CONSTRAINT ledger_balance_not_below_floor")
        forgery = self.forge(vandal, amount_cents=900)
        prepaid = rawsql.account(vandal, "prepaid_credit", "acme-corp")
        forgery.entries[0] = rawsql.entry(vandal, prepaid, "debit", 900, 1) | {"balance_after_cents": -100}
        forgery.entries[1] |= {"amount_cents": 900, "balance_after_cents": 900}
        forgery.settle()
        with vandals.unguarded(vandal):
            forgery.write(vandal)
        assert {"balance_is_below_its_floor", "running_balance_is_below_its_floor"} <= set(faults())

    @pytest.mark.parametrize(
        ("change", "kind"),
        [
            ({"reverses_id": 1000}, "reversal_differs_from_what_it_reverses"),
            ({"effective_at": "2026-10-01T00:00:00Z"}, "transaction_is_malformed"),
            ({"fingerprint": b"x"}, "transaction_is_malformed"),
            ({"book_id": "nowhere"}, "transaction_has_no_book"),
        ],
    )
    def test_of_a_header_that_breaks_a_rule(self, vandal: psycopg.Cursor[Any], change: rawsql.Row, kind: str) -> None:
        for constraint in ("ledger_books_date_not_before_the_fact", "ledger_fingerprint_is_sha256"):
            vandal.execute(f"ALTER TABLE ledger_transaction DROP CONSTRAINT {constraint}")
        forgery = self.forge(vandal, **change)
        with vandals.unguarded(vandal):
            forgery.write(vandal)
        assert kind in faults()

    def test_of_one_fact_twice(self, posted: list[models.Transaction], vandal: psycopg.Cursor[Any]) -> None:
        vandal.execute("ALTER TABLE ledger_transaction DROP CONSTRAINT ledger_fact_posted_once")
        forgery = self.forge(vandal, idempotency_key=posted[0].idempotency_key)
        forgery.write(vandal)
        assert faults() == {
            "protection_is_off": "constraint ledger_fact_posted_once",
            "fact_is_posted_twice": ids.encode_serial("txn", forgery.header["id"]),
        }

    def reversal(self, cursor: psycopg.Cursor[Any], key: str) -> rawsql.Forgery:
        """Of the fact ``billed``."""
        forgery = rawsql.honest(cursor, key=key)
        cursor.execute("SELECT id FROM ledger_transaction WHERE idempotency_key = 'billed'")
        (forgery.header["reverses_id"],) = cursor.fetchone() or (0,)
        for line in forgery.entries:
            line["entry_type"] = {"debit": "credit", "credit": "debit"}[line["entry_type"]]
            line["balance_after_cents"] -= 200
        forgery.settle()
        return forgery

    def test_of_an_exact_reversal_is_in_order(self, vandal: psycopg.Cursor[Any]) -> None:
        rawsql.honest(vandal, key="billed").write(vandal)
        self.reversal(vandal, "reversed").write(vandal)
        assert faults() == {}

    def test_of_a_reversal_that_reverses_something_else(self, vandal: psycopg.Cursor[Any]) -> None:
        rawsql.honest(vandal, key="billed").write(vandal)
        forgery = self.reversal(vandal, "reversed")
        forgery.header["amount_cents"] = 60
        for line in forgery.entries:
            line |= {"amount_cents": 60, "balance_after_cents": 40}
        forgery.settle()
        with vandals.unguarded(vandal):
            forgery.write(vandal)
        row = ids.encode_serial("txn", forgery.header["id"])
        assert faults() == {"reversal_differs_from_what_it_reverses": row}

    def test_of_a_second_reversal(self, vandal: psycopg.Cursor[Any]) -> None:
        vandal.execute("DROP INDEX ledger_transaction_reversed_once")
        rawsql.honest(vandal, key="billed").write(vandal)
        self.reversal(vandal, "reversed").write(vandal)
        again = self.reversal(vandal, "reversed again")
        again.write(vandal)
        assert faults() == {
            "protection_is_off": "index ledger_transaction_reversed_once",
            "fact_is_posted_twice": ids.encode_serial("txn", again.header["id"]),
        }


class TestClosedPeriod:
    KIND = "period_snapshot_is_not_the_sum"

    @pytest.fixture(autouse=True)
    def _closed(self, vandal: psycopg.Cursor[Any]) -> None:
        later = datetime(2026, 11, 15, tzinfo=UTC)
        factories.TransactionFactory(debit="cash", credit="prepaid_credit", occurred_at=later)
        for month, year in ((11, 2026), (12, 2026), (1, 2027)):
            with transaction.atomic():
                periods.close_period(
                    book="main",
                    period_start=datetime(2026, 10, 1, tzinfo=UTC) if month == 11 else None,
                    period_end=datetime(year, month, 1, tzinfo=UTC),
                    actor="key_1",
                    reason="month end",
                    now=datetime(2027, 1, 3, tzinfo=UTC),
                )

    def test_agrees_with_its_snapshot(self) -> None:
        factories.TransactionFactory(occurred_at=datetime(2026, 11, 20, tzinfo=UTC))
        assert faults() == {}
        assert faults(book="main") == {}

    @pytest.mark.parametrize(
        "attack",
        [
            "UPDATE ledger_period_balance SET balance_cents = balance_cents + 1",
            "DELETE FROM ledger_period_balance",
            "UPDATE ledger_period SET ends_at = '2026-11-10T00:00:00Z' WHERE ends_at = '2026-12-01T00:00:00Z'",
        ],
    )
    def test_is_missed_when_its_snapshot_is_not_the_sum(self, vandal: psycopg.Cursor[Any], attack: str) -> None:
        assert self.KIND in after(vandal, attack)

    def test_took_no_transaction_after_its_close(self, vandal: psycopg.Cursor[Any]) -> None:
        forgery = rawsql.honest(vandal, key="late")
        with vandals.unguarded(vandal):
            forgery.write(vandal)
        assert set(faults()) == {self.KIND}


class TestProtections:
    def test_are_those_that_the_migrations_make(self, committed_db: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(verification_sql.PROTECTIONS, {"tables": list(protections.TABLES)})
            there = sorted(name for (name,) in cursor.fetchall())
        assert there == sorted(protections.NAMES), "ledger/protections.py names what the migrations make"

    @pytest.mark.parametrize(
        ("attack", "missed"),
        [
            ("ALTER TABLE ledger_entry DISABLE TRIGGER ledger_entries_balance", "trigger ledger_entries_balance"),
            ("ALTER TABLE ledger_entry ENABLE TRIGGER ledger_entries_balance", "trigger ledger_entries_balance"),
            ("DROP TRIGGER ledger_block_is_append_only ON ledger_block", "trigger ledger_block_is_append_only"),
            ("ALTER TABLE ledger_account DISABLE TRIGGER ALL", "constraint ledger_account_follows_the_chart"),
        ],
    )
    def test_are_missed(self, vandal: psycopg.Cursor[Any], attack: str, missed: str) -> None:
        vandal.execute(attack)
        report = verification.verify_ledger()
        assert [fault.kind for fault in report.faults] == ["protection_is_off"]
        if "ALL" not in attack:
            assert report.faults[0].row == missed


class TestOneBook:
    def test_is_read_alone(self, posted: list[models.Transaction], vandal: psycopg.Cursor[Any]) -> None:
        books.open_book(code="acme-eu", name="Acme Europe")
        factories.TransactionFactory(book="acme-eu")
        after(vandal, f"UPDATE ledger_transaction SET amount_cents = 99 WHERE id = {posted[7].pk}")
        report = verification.verify_ledger(book="acme-eu")
        assert (report.needs_person, report.entry_count, report.transaction_count) == (False, 2, 1)
        assert faults(book="main") == faults() == {"transaction_does_not_balance": txn(posted[7])}


class TestOpenTransaction:
    def test_is_read_as_it_is(self, posted: list[models.Transaction]) -> None:
        with transaction.atomic():
            factories.TransactionFactory()
            assert verification.verify_ledger().transaction_count == 9
            with connection.cursor() as cursor:
                cursor.execute("SHOW enable_seqscan")
                assert cursor.fetchone() == ("on",)


class TestCommand:
    def run(self, *arguments: str) -> dict[str, Any]:
        out = io.StringIO()
        try:
            call_command("verify_ledger", "--json", *arguments, stdout=out)
            code = 0
        except SystemExit as exited:
            code = int(exited.code or 0)
        return {"exit": code, **json.loads(out.getvalue())}

    def test_is_content_with_a_whole_ledger(self, posted: list[models.Transaction]) -> None:
        told = self.run("--as-of", "2026-11-02T00:00:00Z")
        assert (told["exit"], told["faults"], told["as_of"]) == (0, [], "2026-11-02T00:00:00Z")
        (head,) = told["heads"]
        again = self.run("--book", "main", "--head", f"main:{head['number']}:{head['hash']}")
        assert again["exit"] == 0

    def test_calls_for_a_person(self, posted: list[models.Transaction], vandal: psycopg.Cursor[Any]) -> None:
        after(vandal, f"UPDATE ledger_transaction SET kind = 'x' WHERE id = {posted[0].pk}")
        told = self.run()
        assert told["exit"] == 1
        assert told["faults"] == [
            {"kind": "sealed_transaction_was_edited", "row": f"{txn(posted[0])} in main block 1", "row_count": 1},
        ]

    @pytest.mark.parametrize("arguments", [["--head", "main:1:xyz"], ["--book", "nowhere"]])
    def test_refuses_what_it_does_not_know(self, committed_db: str, arguments: list[str]) -> None:
        with pytest.raises(CommandError):
            self.run(*arguments)
