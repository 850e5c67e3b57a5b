"""Settled transactions are sealed once, none is passed over, and each block carries the hash of the one before."""

import hashlib
import io
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client

from billing_site.embedded import postgres
from ledger import books, models, posting, sealing, tasks
from tests.factories import ledger as factories
from tests.ledger import rawsql, sealed
from tests.support import services, threads

POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("committed_db")


def blocks(book: str = "main") -> list[models.Block]:
    return list(models.Block.objects.filter(book=book).order_by("number"))


@pytest.fixture
def other(committed_db: str) -> Iterator[psycopg.Cursor[Any]]:
    """Another session of the owner, with a transaction of its own."""
    url = services.current().cluster.url(role=postgres.OWNER_ROLE, database=committed_db)
    with psycopg.connect(url) as session, session.cursor() as cursor:
        yield cursor


class TestSealTransactions:
    def test_seals_what_is_settled_once(self) -> None:
        posted = [factories.TransactionFactory() for _ in range(3)]
        sealed.seal()
        (block,) = blocks()
        assert (block.number, block.transaction_count, bytes(block.previous_hash)) == (1, 3, bytes(32))
        assert (block.first_transaction_id, block.last_transaction_id) == (posted[0].pk, posted[2].pk)
        assert sealing.seal_transactions() == sealing.SealingReport(block_count=0, transaction_count=0)

    def test_chains_each_block_to_the_one_before(self) -> None:
        for _ in range(3):
            factories.TransactionFactory()
            sealed.seal()
        made = blocks()
        assert [block.number for block in made] == [1, 2, 3]
        assert [bytes(block.previous_hash) for block in made[1:]] == [bytes(block.hash) for block in made[:-1]]

    def test_puts_at_most_10000_into_a_block(self) -> None:
        with transaction.atomic():
            for _ in range(2):
                posting.post_many(book="main", transactions=factories.NewTransactionFactory.build_batch(5001))
        sealed.seal()
        assert [block.transaction_count for block in blocks()] == [10_000, 2]

    def test_chains_each_book_by_itself(self) -> None:
        books.open_book(code="acme-eu", name="Acme Europe")
        factories.TransactionFactory()
        factories.TransactionFactory(book="acme-eu")
        sealed.seal()
        assert [block.transaction_count for block in [*blocks(), *blocks("acme-eu")]] == [1, 1]
        assert blocks("acme-eu")[0].number == 1

    def test_seals_nothing_in_an_open_transaction(self) -> None:
        with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
            sealing.seal_transactions()

    def test_is_done_once_by_eight_at_once(self) -> None:
        for _ in range(5):
            factories.TransactionFactory()
        outcomes = threads.run_together([sealing.seal_transactions] * 8)
        threads.results(outcomes)
        sealed.seal()
        assert sum(block.transaction_count for block in blocks()) == 5
        assert [block.number for block in blocks()] == list(range(1, len(blocks()) + 1))

    def test_is_what_the_task_does(self) -> None:
        factories.TransactionFactory()
        sealed.seal()
        tasks.seal_transactions()
        assert len(blocks()) == 1


class TestSettled:
    """The trap: ids and transaction numbers are given at the start, and seen only at the end."""

    def test_waits_for_a_writer_that_began_earlier_and_commits_later(self, other: psycopg.Cursor[Any]) -> None:
        slow = rawsql.honest(other, key="slow")
        slow.write(other)  # has the smaller id and the smaller number, and is not committed
        fast = factories.TransactionFactory(tenant_id="globex", credit="cash")
        assert slow.header["id"] < fast.pk
        sealing.seal_transactions()
        assert blocks() == []
        other.connection.commit()
        sealed.seal()
        assert sum(block.transaction_count for block in blocks()) == 2
        assert blocks()[0].first_transaction_id == slow.header["id"]

    def test_passes_over_no_transaction_with_a_smaller_id_than_a_sealed_one(self, other: psycopg.Cursor[Any]) -> None:
        other.execute("SELECT nextval('ledger_transaction_id_seq')")
        (taken,) = other.fetchone() or (0,)
        other.connection.commit()
        later = factories.TransactionFactory(tenant_id="globex", credit="cash")
        sealed.seal()
        assert blocks()[0].last_transaction_id == later.pk > taken
        slow = rawsql.honest(other, key="slow")
        slow.header["id"] = taken
        slow.write(other)
        other.connection.commit()
        sealed.seal()
        assert [block.first_transaction_id for block in blocks()] == [later.pk, taken]

    def test_is_every_row_of_another_cluster(self, other: psycopg.Cursor[Any]) -> None:
        """As after a restore from a dump, whose numbers may be far ahead of this cluster's."""
        restored = rawsql.honest(other, key="restored")
        restored.header |= {"system_identifier": 42, "written_xid": str(2**40)}
        other.execute("ALTER TABLE ledger_transaction DISABLE TRIGGER USER")
        restored.write(other)
        other.execute("ALTER TABLE ledger_transaction ENABLE ALWAYS TRIGGER ledger_transaction_has_its_entries")
        other.execute("ALTER TABLE ledger_transaction ENABLE ALWAYS TRIGGER ledger_transaction_is_append_only")
        other.connection.commit()
        factories.TransactionFactory()
        sealed.seal()
        assert [block.system_identifier == 42 for block in blocks()] == [True, False]
        assert [block.transaction_count for block in blocks()] == [1, 1]


class TestWriter:
    def test_is_the_servers_to_say(self) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            posted = factories.TransactionFactory()
            cursor.execute("SELECT pg_current_xact_id()::text::bigint, (pg_control_system()).system_identifier")
            here = cursor.fetchone()
        assert (posted.written_xid, posted.system_identifier) == here

    def test_is_filled_in_for_whoever_writes_past_the_function(self, owner_cursor: psycopg.Cursor[Any]) -> None:
        rawsql.honest(owner_cursor, key="first").write(owner_cursor)
        owner_cursor.execute(
            "SELECT count(DISTINCT system_identifier), min(written_xid::text::bigint) > 0 FROM ledger_transaction"
        )
        assert owner_cursor.fetchone() == (1, True)


class TestHash:
    """Computed here a second time, from what the decision record says and not from the code."""

    def test_covers_every_column_of_the_block_and_its_transactions(self) -> None:
        factories.TransactionFactory(description="Überweisung", metadata={"b": "1", "a": "ü"})
        factories.TransactionFactory()
        sealed.seal()
        (block,) = blocks()
        digests = [hashlib.sha256(sent_transaction(row)).digest() for row in models.Transaction.objects.order_by("pk")]
        assert bytes(block.digests) == b"".join(digests)
        assert (
            bytes(block.hash)
            == hashlib.sha256(
                row_of(
                    text(block.book_id),
                    int4(block.number),
                    int8(block.system_identifier),
                    int4(block.transaction_count),
                    int8(block.first_transaction_id),
                    int8(block.last_transaction_id),
                    xid8(block.last_written_xid),
                    moment(block.sealed_at),
                    raw(bytes(32)),
                    raw(b"".join(digests)),
                ),
            ).digest()
        )


Field = tuple[int, bytes | None]


def row_of(*values: Field) -> bytes:
    sent = struct.pack(">i", len(values))
    for kind, value in values:
        sent += struct.pack(">Ii", kind, -1 if value is None else len(value)) + (value or b"")
    return sent


def raw(value: bytes) -> Field:
    return 17, value


def text(value: str) -> Field:
    return 17, value.encode()


def int2(value: int) -> Field:
    return 21, struct.pack(">h", value)


def int4(value: int) -> Field:
    return 23, struct.pack(">i", value)


def int8(value: int | None) -> Field:
    return 20, None if value is None else struct.pack(">q", value)


def xid8(value: int) -> Field:
    return 5069, struct.pack(">Q", value)


def moment(value: datetime) -> Field:
    since = value - POSTGRES_EPOCH
    return 1184, struct.pack(">q", (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def sent_transaction(row: models.Transaction) -> bytes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT metadata::text FROM ledger_transaction WHERE id = %s", [row.pk])
        (metadata,) = cursor.fetchone()
    header = row_of(
        int8(row.pk),
        text(row.book_id),
        text(row.idempotency_key),
        raw(bytes(row.fingerprint)),
        text(row.kind),
        text(row.tenant_id),
        text(row.currency),
        moment(row.occurred_at),
        moment(row.effective_at),
        moment(row.created_at),
        text(row.reference_type),
        text(row.reference_id),
        text(row.description),
        text(metadata),
        int4(row.entry_count),
        int8(row.amount_cents),
        int8(row.reverses_id),
        xid8(row.written_xid),
        int8(row.system_identifier),
    )
    return header + b"".join(
        row_of(
            int8(entry.pk),
            int4(entry.line_no),
            text(entry.book_id),
            text(entry.currency),
            text(entry.tenant_id),
            int8(entry.account_id),
            text(entry.account_tenant_id),
            int2(entry.shard),
            text(entry.entry_type),
            int8(entry.amount_cents),
            int8(entry.account_seq),
            int8(entry.balance_after_cents),
            moment(entry.effective_at),
            text(entry.account.type),
            text(entry.account.channel),
        )
        for entry in row.entries.order_by("line_no").select_related("account")
    )


class TestBlock:
    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"number": 3}, "ledger_block_follows_the_one_before"),
            ({"previous_hash": bytes(32)}, "ledger_block_follows_the_one_before"),
            ({"number": 1}, "ledger_block_numbered_once"),
            ({"number": 0}, "ledger_block_is_numbered_from_one"),
            ({"hash": bytes(31)}, "ledger_block_has_sha256_hashes"),
            ({"previous_hash": bytes(31)}, "ledger_block_has_sha256_hashes"),
            ({"digests": bytes(31)}, "ledger_block_has_a_digest_for_each"),
            ({"transaction_count": 0, "digests": b""}, "ledger_block_holds_1_to_10000"),
            ({"transaction_count": 10_001, "digests": bytes(32 * 10_001)}, "ledger_block_holds_1_to_10000"),
        ],
    )
    def test_is_not_forged_by_the_owner(
        self,
        owner_cursor: psycopg.Cursor[Any],
        change: rawsql.Row,
        constraint: str,
    ) -> None:
        factories.TransactionFactory()
        sealed.seal()
        (block,) = blocks()
        row = {
            "book_id": "main",
            "number": 2,
            "system_identifier": block.system_identifier,
            "transaction_count": 1,
            "first_transaction_id": 2,
            "last_transaction_id": 2,
            "last_written_xid": str(block.last_written_xid + 1),
            "sealed_at": block.sealed_at,
            "previous_hash": bytes(block.hash),
            "digests": bytes(32),
            "hash": bytes(32),
        }
        with pytest.raises(psycopg.errors.IntegrityError) as caught:
            rawsql.insert(owner_cursor, "ledger_block", [row | change])
        assert caught.value.diag.constraint_name == constraint

    @pytest.mark.parametrize(
        "attack",
        ["UPDATE ledger_block SET hash = hash", "DELETE FROM ledger_block", "TRUNCATE ledger_block"],
    )
    def test_never_changes(self, superuser_cursor: psycopg.Cursor[Any], attack: str) -> None:
        superuser_cursor.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            superuser_cursor.execute(attack)
        assert caught.value.diag.constraint_name == "ledger_history_is_append_only"


class TestScreen:
    def test_shows_the_hash_to_write_down(self) -> None:
        browser = Client()
        browser.force_login(User.objects.create_superuser("finance"))
        factories.TransactionFactory()
        sealed.seal()
        (block,) = blocks()
        listed = browser.get("/admin/ledger/block/", {"q": "1"})
        shown = browser.get(f"/admin/ledger/block/{block.pk}/change/")
        for page in (listed, shown):
            assert page.status_code == 200
            assert block.hash_hex in page.content.decode()
        assert browser.post(f"/admin/ledger/block/{block.pk}/delete/", {"post": "yes"}).status_code == 403


class TestCommand:
    def test_seals_one_book_alone(self) -> None:
        books.open_book(code="acme-eu", name="Acme Europe")
        factories.TransactionFactory()
        factories.TransactionFactory(book="acme-eu")
        sealed.wait()
        out = io.StringIO()
        call_command("seal_transactions", "--json", "--book", "acme-eu", stdout=out)
        told = json.loads(out.getvalue())
        assert (told["block_count"], told["transaction_count"]) == (1, 1)
        assert (len(blocks()), len(blocks("acme-eu"))) == (0, 1)
