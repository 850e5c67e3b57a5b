"""
Verification: recomputes all of the ledger from its rows, and names the first wrong row of each kind.

Sums, running balances, numbers, floors, whole transactions, what foreign keys would hold, the chain of sealed blocks,
and whether the database's own protections are in place. It reads pages by index in one snapshot, so that its memory is
that of a page whatever the ledger's size, and posting goes on beside it. See the decision record on sealing for what it
can find and what only a hash kept elsewhere can.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import connection, transaction

from billing_site.kernel import ids
from ledger import chart, protections, verification_sql

ENTRIES_A_PAGE: Final = 20_000
TRANSACTIONS_A_PAGE: Final = 2_000
ROWS_A_PAGE: Final = 5_000

_FIRST: Final = -(2**63)
_BEGINNING: Final = ("0", _FIRST)
_END: Final = (str(2**64 - 1), 2**63 - 1)
_NO_HASH: Final = bytes(32)

Progress = Callable[[int, int | None, str], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of fault: the first row that has it, and how many have."""

    kind: str
    row: str
    row_count: int


@dataclass(frozen=True, kw_only=True)
class ChainHead:
    """The last block of a book. Kept elsewhere, its hash proves all of the book up to there."""

    book: str
    number: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """What was read, and what is wrong with it."""

    account_count: int
    entry_count: int
    transaction_count: int
    block_count: int
    unsealed_count: int
    heads: Sequence[ChainHead]
    faults: Sequence[Fault]
    needs_person: bool


def verify_ledger(
    *,
    book: str | None = None,
    known_heads: Sequence[ChainHead] = (),
    progress: Progress = lambda _done, _total, _what: None,
) -> VerificationReport:
    """
    Recompute the ledger, or one book of it, and report every kind of fault.

    ``known_heads`` are heads of earlier runs, kept where nobody who can write to the database can change them: each
    must still be in its chain.

    Locks: none; reads in one snapshot. While it runs, nothing that is deleted or updated is vacuumed.
    """
    with _snapshot():
        run = _Run(book=book, progress=progress)
        run.check_protections()
        run.check_accounts()
        run.check_entries()
        run.check_periods()
        run.check_chains(known_heads)
    return run.report()


@contextmanager
def _snapshot() -> Iterator[None]:
    """One moment for all statements; a caller that has a transaction open keeps its own."""
    outermost = not connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        if outermost:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute(verification_sql.SETTINGS)
        yield
        cursor.execute(verification_sql.SETTINGS_BACK)


@dataclass(frozen=True)
class _Block:
    """One sealed block, as it stands."""

    number: int
    cluster: int
    transaction_count: int
    last_xid: str
    last_id: int
    previous_hash: bytes
    hash: bytes
    digests: bytes
    has_its_hash: bool


@dataclass
class _Run:
    """One verification: what was counted and found so far."""

    book: str | None
    progress: Progress
    account_count: int = 0
    entry_count: int = 0
    transaction_count: int = 0
    block_count: int = 0
    unsealed_count: int = 0
    heads: list[ChainHead] = field(default_factory=list)
    first_rows: dict[str, str] = field(default_factory=dict)
    fault_counts: dict[str, int] = field(default_factory=dict)

    def report(self) -> VerificationReport:
        return VerificationReport(
            account_count=self.account_count,
            entry_count=self.entry_count,
            transaction_count=self.transaction_count,
            block_count=self.block_count,
            unsealed_count=self.unsealed_count,
            heads=self.heads,
            faults=[
                Fault(kind=kind, row=row, row_count=self.fault_counts[kind]) for kind, row in self.first_rows.items()
            ],
            needs_person=bool(self.first_rows),
        )

    def found(self, kinds: Sequence[str], row: str) -> None:
        for kind in kinds:
            self.first_rows.setdefault(kind, row)
            self.fault_counts[kind] = self.fault_counts.get(kind, 0) + 1

    def ask(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, {"book": self.book, **values})
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def check_protections(self) -> None:
        """What is switched off lets anything in; what is repeated is looked for where its unique index is gone."""
        there = {name for (name,) in self.ask(verification_sql.PROTECTIONS, tables=list(protections.TABLES))}
        for name in protections.NAMES:
            if name not in there:
                self.found(["protection_is_off"], name)
                repeated = verification_sql.REPEATED.get(name.split()[-1])
                for (row_id,) in self.ask(repeated) if repeated else []:
                    self.found(["fact_is_posted_twice"], ids.encode_serial("txn", row_id))
        stored = {name: line for line in self.ask(verification_sql.CHART) for name in [line[1]]}
        for name in sorted(stored.keys() | chart.ACCOUNT_TYPES.keys()):
            if stored.get(name) != _line_of_chart(name):
                self.found(["chart_differs_from_the_code"], name)

    def check_accounts(self) -> None:
        for account_id, kinds in self.pages(verification_sql.ACCOUNTS):
            self.account_count += 1
            self.found(kinds, ids.encode_serial("acc", account_id))
        for balance_id, kinds in self.pages(verification_sql.BALANCES):
            self.found(kinds, f"balance {balance_id}")
        for book, currency in self.ask(verification_sql.UNBALANCED_BOOKS):
            self.found(["book_does_not_balance"], f"{book} {currency}")

    def pages(self, statement: str) -> Iterator[tuple[int, list[str]]]:
        """The rows of this book, or of all, with their faults."""
        after = _FIRST
        while rows := self.ask(statement, id=after, page=ROWS_A_PAGE):
            yield from ((row_id, kinds) for row_id, book, kinds in rows if self.book in (None, book))
            after = rows[-1][0]

    def check_entries(self) -> None:
        """Account by account, in the order of their numbers."""
        total = self.ask("SELECT sum(last_seq)::bigint FROM public.ledger_balance")[0][0] or 0
        last = (_FIRST, 0, 0, _FIRST)
        while True:
            account, shard, seq, entry_id = last
            rows = self.ask(
                verification_sql.ENTRIES,
                account=account,
                shard=shard,
                seq=seq,
                id=entry_id,
                page=ENTRIES_A_PAGE,
            )
            for *_, row_id, kinds, _places in rows:
                self.found(kinds, ids.encode_serial("ent", row_id))
            carried = 0 if account == _FIRST else 1
            read = rows[-1][5] - carried if rows else 0
            if read <= 0:
                return
            self.entry_count += read
            last = rows[-1][:4]
            self.progress(self.entry_count, total, "entries")

    def check_periods(self) -> None:
        """The snapshot of each closed period is the sum of its entries, so none was posted into it later."""
        for period_id, book, starts_at, ends_at, before_id in self.ask(verification_sql.PERIODS):
            values = {"period": period_id, "before": before_id, "period_book": book}
            for (account_id,) in self.ask(verification_sql.SNAPSHOT, starts_at=starts_at, ends_at=ends_at, **values):
                account = ids.encode_serial("acc", account_id)
                self.found(["period_snapshot_is_not_the_sum"], f"{account} in period {period_id} of {book}")

    def check_chains(self, known_heads: Sequence[ChainHead]) -> None:
        """Book by book: the chain and what it seals, then what is not sealed yet."""
        clusters: dict[str, list[int]] = {book: [] for (book,) in self.ask(verification_sql.BLOCKED_BOOKS)}
        for book, cluster, is_book in self.ask(verification_sql.CHAINS):
            clusters.setdefault(book, []).append(cluster)
            if not is_book:
                self.found(["transaction_has_no_book"], book)
        known = {(head.book, head.number): head.hash for head in known_heads if self.book in (None, head.book)}
        for book in sorted(clusters):
            self.check_chain(book, clusters[book], known)
        for book, number in known:
            self.found(["known_head_is_missing"], f"{book} block {number}")

    def check_chain(self, book: str, clusters: Sequence[int], known: dict[tuple[str, int], str]) -> None:
        """Each block continues the one before, as its transactions continue those before."""
        reached: dict[int, tuple[str, int]] = {}
        number, previous_hash = 0, _NO_HASH
        while rows := self.ask(verification_sql.BLOCK, book=book, number=number):
            block = _Block(*rows[0])
            name = f"{book} block {block.number}"
            self.block_count += 1
            if block.number != number + 1:
                self.found(["block_numbers_have_a_gap"], name)
            if block.previous_hash != previous_hash:
                self.found(["block_is_not_chained"], name)
            if not block.has_its_hash:
                self.found(["block_differs_from_its_hash"], name)
            if known.pop((book, block.number), block.hash.hex()) != block.hash.hex():
                self.found(["known_head_differs"], name)
            self.check_block(book, block, reached.get(block.cluster, _BEGINNING))
            reached[block.cluster] = (block.last_xid, block.last_id)
            number, previous_hash = block.number, bytes(block.hash)
        for cluster in clusters:
            for _ in self.transactions(book, cluster, reached.get(cluster, _BEGINNING), _END):
                self.unsealed_count += 1
        if number:
            self.heads.append(ChainHead(book=book, number=number, hash=previous_hash.hex()))

    def check_block(self, book: str, block: _Block, after: tuple[str, int]) -> None:
        """The transactions up to the block's last are those that it sealed."""
        there = list(self.transactions(book, block.cluster, after, (block.last_xid, block.last_id)))
        sealed = [block.digests[start : start + 32] for start in range(0, len(block.digests), 32)]
        if [digest for _, digest in there] == sealed:
            return
        agreeing = next(
            (place for place, ((_, digest), seal) in enumerate(zip(there, sealed, strict=False)) if digest != seal),
            min(len(there), len(sealed)),
        )
        kind, row_id = _difference(there[agreeing:], sealed[agreeing:])
        row = ids.encode_serial("txn", row_id) if row_id is not None else "the last"
        self.found([kind], f"{row} in {book} block {block.number}")

    def transactions(
        self,
        book: str,
        cluster: int,
        after: tuple[str, int],
        upto: tuple[str, int],
    ) -> Iterator[tuple[int, bytes]]:
        """Ids and digests in the order of their writers; each is checked on the way."""
        while rows := self.ask(
            verification_sql.TRANSACTIONS,
            book=book,
            cluster=cluster,
            xid=after[0],
            id=after[1],
            last_xid=upto[0],
            last_id=upto[1],
            page=TRANSACTIONS_A_PAGE,
        ):
            for row_id, _, digest, kinds in rows:
                self.found(kinds, ids.encode_serial("txn", row_id))
                yield row_id, bytes(digest)
            self.transaction_count += len(rows)
            self.progress(self.transaction_count, None, "transactions")
            after = (rows[-1][1], rows[-1][0])


def _difference(there: Sequence[tuple[int, bytes]], sealed: Sequence[bytes]) -> tuple[str, int | None]:
    """What happened where the rows and the seal part: the kind, and the row at that place."""
    if not there:
        return "sealed_transaction_is_missing", None
    row_id, digest = there[0]
    if digest in sealed:
        return "sealed_transaction_is_missing_before", row_id
    if not sealed or any(other == sealed[0] for _, other in there[1:]):
        return "transaction_was_slipped_under_the_seal", row_id
    return "sealed_transaction_was_edited", row_id


def _line_of_chart(name: str) -> tuple[Any, ...] | None:
    line = chart.ACCOUNT_TYPES.get(name)
    if line is None:
        return None
    return (line.code, line.name, line.category, line.normal_side, line.scope, line.floor_cents, line.shards)
