"""Each rule that the database names has its error, and each named error has its rule."""

import re
from pathlib import Path

import pytest
from django.db import IntegrityError, connection, transaction

import ledger
from ledger import errors

SQL = Path(ledger.__file__).parent / "migrations" / "sql"

# Broken by the owner's own hand alone, or by a fault of ours: there is nothing to tell a caller.
UNTOLD = {
    "ledger_account_identity",
    "ledger_account_opened_once",
    "ledger_account_type_code_key",
    "ledger_account_type_identity",
    "ledger_balance_one_per_shard",
    "ledger_balance_starts_at_zero",
    "ledger_block_follows_the_one_before",
    "ledger_block_has_a_digest_for_each",
    "ledger_block_has_sha256_hashes",
    "ledger_block_holds_1_to_10000",
    "ledger_block_identity",
    "ledger_block_is_numbered_from_one",
    "ledger_block_numbered_once",
    "ledger_category_is_known",
    "ledger_entry_is_numbered_from_one",
    "ledger_entry_line_written_once",
    "ledger_entry_numbered_once",
    "ledger_floored_account_has_one_shard",
    "ledger_normal_side_is_debit_or_credit",
    "ledger_period_closed_once",
    "ledger_period_revised_in_order",
    "ledger_scope_is_book_tenant_or_channel",
    "ledger_snapshot_holds_an_account_once",
    "ledger_transaction_identity",
}


class TestRules:
    @pytest.mark.django_db
    def test_are_those_of_the_database(self) -> None:
        raised = {name for file in SQL.glob("*.sql") for name in re.findall(r"CONSTRAINT = '(\w+)'", file.read_text())}
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT conname FROM pg_constraint WHERE conrelid::regclass::text LIKE 'ledger\\_%%'"
                " AND contype IN ('c', 'u', 'f', 't')",
            )
            declared = {name for (name,) in cursor.fetchall()}
            # A unique key with a condition is an index to PostgreSQL, and named in errors all the same.
            cursor.execute(
                "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid::regclass::text LIKE 'ledger\\_%%'"
                " AND indisunique AND indpred IS NOT NULL",
            )
            declared |= {name for (name,) in cursor.fetchall()}
        named = {name for name in declared if not re.search(r"_(fk_\w+|check|key)$", name)}
        assert raised | named == set(errors.RULES) | (UNTOLD & (raised | named))

    def test_have_codes_of_their_own(self) -> None:
        classes = set(errors.RULES.values())
        assert len({error.code for error in classes}) == len(classes)


@pytest.mark.django_db
class TestTranslated:
    def test_passes_on_what_it_does_not_know(self) -> None:
        with pytest.raises(IntegrityError), errors.translated(), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO kernel_outbox_message (id) VALUES ('msg_x')")
