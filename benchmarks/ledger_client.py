"""One client of ``benchmarks.ledger``: posts for some seconds as fast as it can, then tells how many and how long."""

import itertools
import os
import random
import sys
import time
from datetime import UTC, datetime

import django
from django.db import models, transaction

django.setup()

from ledger import posting  # noqa: E402  (needs the app registry)

PAIRS = 10_000
OCCURRED_AT = datetime(2026, 11, 1, tzinfo=UTC)


class Account(models.Model):
    """The plain way's account."""

    id = models.IntegerField(primary_key=True)
    balance = models.BigIntegerField()

    objects: models.Manager["Account"] = models.Manager()

    class Meta:
        app_label = "benchmarks"
        db_table = "bench_account"
        managed = False


class Transaction(models.Model):
    """The plain way's transaction."""

    key = models.TextField()

    objects: models.Manager["Transaction"] = models.Manager()

    class Meta:
        app_label = "benchmarks"
        db_table = "bench_transaction"
        managed = False


class Entry(models.Model):
    """The plain way's entry."""

    transaction = models.ForeignKey(Transaction, models.DO_NOTHING)
    account = models.ForeignKey(Account, models.DO_NOTHING)
    amount = models.BigIntegerField()

    objects: models.Manager["Entry"] = models.Manager()

    class Meta:
        app_label = "benchmarks"
        db_table = "bench_entry"
        managed = False


class Client:
    """Posts by one of the ways; every key is its own."""

    def __init__(self, work: str, batch: int, index: int) -> None:
        self.batch = batch
        self.chance = random.Random(index)  # noqa: S311  (a load, no secret)
        self.keys = (f"{os.getpid()}:{time.time_ns()}:{n}" for n in itertools.count())
        # Every pair is a tenant's receivable against its deferred revenue; the hot ones are against one account.
        self.other = {"spread": "deferred_revenue", "hot": "usage_revenue", "hot_one_row": "unapplied_receipts"}.get(
            work
        )
        self.step = self.plain if self.other is None else self.post
        self.hot = work == "plain_hot"

    def post(self) -> None:
        """A batch through the ledger."""
        transactions = [self.fact() for _ in range(self.batch)]
        with transaction.atomic():
            if self.batch == 1:
                posting.post(book="main", transaction=transactions[0])
            else:
                posting.post_many(book="main", transactions=transactions)

    def fact(self, tenant_id: str = "") -> posting.NewTransaction:
        """An invoice of a tenant, of any where none is named."""
        tenant_id = tenant_id or f"tenant-{self.chance.randrange(PAIRS)}"
        other = self.other or ""
        entries = [
            posting.NewEntry(
                account_type="accounts_receivable", entry_type="debit", amount_cents=100, tenant_id=tenant_id
            ),
            posting.NewEntry(
                account_type=other,
                entry_type="credit",
                amount_cents=100,
                tenant_id=tenant_id if other == "deferred_revenue" else "",
            ),
        ]
        return posting.NewTransaction(
            idempotency_key=next(self.keys),
            kind="invoice_finalized",
            tenant_id=tenant_id,
            currency="USD",
            occurred_at=OCCURRED_AT,
            entries=entries,
            reference_type="invoice",
            reference_id="inv_1",
            description="",
        )

    def plain(self) -> None:
        """The same by the ORM: lock two accounts, write a transaction, two entries and two balances."""
        pair = self.chance.randrange(PAIRS)
        ids = sorted([pair, 20_001 if self.hot else PAIRS + pair])
        with transaction.atomic():
            first, second = Account.objects.select_for_update().filter(pk__in=ids).order_by("pk")
            written = Transaction.objects.create(key=next(self.keys))
            for account, amount in ((first, 100), (second, -100)):
                Entry.objects.create(transaction=written, account=account, amount=amount)
                account.balance += amount
                account.save(update_fields=["balance"])


def open_accounts(batch: int) -> None:
    """Post once for each pair, so that no measurement is of opening accounts."""
    client = Client("spread", batch, 0)
    for first in range(0, PAIRS, batch):
        facts = [client.fact(f"tenant-{n}") for n in range(first, first + batch)]
        with transaction.atomic():
            posting.post_many(book="main", transactions=facts)
    print("warm", flush=True)
    sys.stdin.readline()
    print(PAIRS, 1, flush=True)


def main() -> None:
    """Warm up, wait for the word, post, tell."""
    work, batch, seconds, index, _clients = sys.argv[1:]
    if work == "open_accounts":
        open_accounts(int(batch))
        return
    client = Client(work, int(batch), int(index))
    for _ in range(3):
        client.step()
    print("warm", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    done = 0
    while (took := time.perf_counter() - began) < float(seconds):
        client.step()
        done += client.batch
    print(done, took, flush=True)


if __name__ == "__main__":
    main()
