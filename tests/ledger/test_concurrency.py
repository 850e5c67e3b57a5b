"""Real connections and threads: one fact once, the last cent once, no drift, no gap, no deadlock."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from billing_site.kernel import database
from ledger import balances, errors, models, posting, verification
from tests.factories import ledger as factories
from tests.ledger import books
from tests.support import threads

WRITERS = 32

pytestmark = pytest.mark.usefixtures("committed_db")


def poster(new: posting.NewTransaction) -> Callable[[], int]:
    def post() -> int:
        with transaction.atomic():
            return int(posting.post(book="main", transaction=new).pk)

    return post


class TestOpenTransaction:
    def test_is_required(self) -> None:
        with pytest.raises(transaction.TransactionManagementError):
            posting.post(book="main", transaction=factories.NewTransactionFactory.build())

    def test_takes_the_posting_with_it_when_rolled_back(self) -> None:
        with transaction.atomic():
            factories.TransactionFactory()
            transaction.set_rollback(True)
        assert not models.Transaction.objects.exists()
        assert not models.Account.objects.exists()


class TestOneKey:
    def test_is_posted_once_by_many_writers(self) -> None:
        new = factories.NewTransactionFactory.build()
        outcomes = threads.run_together([poster(new)] * WRITERS)
        assert set(outcomes) == {models.Transaction.objects.get().pk}
        books.verify()

    def test_is_posted_once_when_each_has_other_facts(self) -> None:
        rivals = [
            factories.NewTransactionFactory.build(idempotency_key="fact", amount_cents=cents)
            for cents in range(1, WRITERS + 1)
        ]
        outcomes = threads.run_together([poster(new) for new in rivals])
        assert Counter(type(outcome) for outcome in outcomes) == {int: 1, errors.IdempotencyConflict: WRITERS - 1}
        posted = models.Transaction.objects.get()
        assert outcomes[posted.amount_cents - 1] == posted.pk
        books.verify()

    def test_is_free_again_when_its_writer_rolled_back(self) -> None:
        new = factories.NewTransactionFactory.build()

        def give_up() -> int:
            with transaction.atomic():
                posting.post(book="main", transaction=new)
                transaction.set_rollback(True)
            return 0

        threads.run_together([give_up] * 4 + [poster(new)] * 4)
        assert models.Transaction.objects.count() == 1
        books.verify()

    def test_is_claimed_in_one_order_by_batches_in_two(self) -> None:
        """Both wait for the middle key. Had each claimed the first it was given, they would wait for each other."""
        new = [factories.NewTransactionFactory.build(idempotency_key=key) for key in ("a", "b", "c")]
        held = threading.Event()

        def hold_the_middle() -> int:
            with transaction.atomic():
                posting.post(book="main", transaction=new[1])
                held.set()
                time.sleep(1)
                transaction.set_rollback(True)
            return 0

        def all_of(order: list[posting.NewTransaction]) -> Callable[[], int]:
            def work() -> int:
                assert held.wait(threads.PATIENCE_SECONDS)
                with transaction.atomic():
                    return len(posting.post_many(book="main", transactions=order))

            return work

        assert threads.run_together([hold_the_middle, all_of(new), all_of(new[::-1])]) == [0, 3, 3]
        assert models.Transaction.objects.count() == 3
        books.verify()


class TestFirstUse:
    def test_opens_an_account_once(self) -> None:
        new = factories.NewTransactionFactory.build_batch(16)
        outcomes = threads.run_together([poster(one) for one in new])
        assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
        assert models.Account.objects.count() == 2
        assert (
            balances.balance_cents(
                book="main", account_type="accounts_receivable", currency="USD", tenant_id="acme-corp"
            )
            == 16_000
        )
        books.verify()


class TestFloor:
    def test_lets_the_last_cent_be_drawn_once_by_fifty(self) -> None:
        factories.TransactionFactory(debit="processor_clearing", credit="prepaid_credit", amount_cents=1)
        draws = factories.NewTransactionFactory.build_batch(
            50,
            debit="prepaid_credit",
            credit="accounts_receivable",
            amount_cents=1,
        )
        outcomes = threads.run_together([poster(new) for new in draws])
        assert Counter(type(outcome) for outcome in outcomes) == {int: 1, errors.BelowFloor: 49}
        assert balances.tenant_balances(tenant_id="acme-corp") == {
            ("USD", "accounts_receivable"): -1,
            ("USD", "prepaid_credit"): 0,
        }
        books.verify()


class TestOverlap:
    def test_of_batches_in_any_order_neither_deadlocks_nor_drifts(self) -> None:
        def batches(seed: int) -> Callable[[], int]:
            chance = random.Random(seed)  # noqa: S311  (a repeatable mix, no secret)

            def work() -> int:
                for number in range(10):
                    new = [
                        factories.NewTransactionFactory.build(
                            idempotency_key=f"{chance.randrange(10**9)}:{seed}:{number}:{place}",
                            tenant_id=f"tenant-{chance.randrange(12)}",
                            credit=chance.choice(["usage_revenue", "deferred_revenue", "cash"]),
                            amount_cents=chance.randrange(1, 1000),
                        )
                        for place in range(20)
                    ]
                    with transaction.atomic():
                        posting.post_many(book="main", transactions=new)
                return 0

            return work

        outcomes = threads.run_together([batches(seed) for seed in range(8)])
        assert outcomes == [0] * 8
        assert models.Transaction.objects.count() == 8 * 10 * 20
        books.verify()

    def test_of_200_accounts_and_a_hot_one_by_eight_writers(self) -> None:
        tenants = [f"tenant-{number}" for number in range(100)]

        def batches(seed: int) -> Callable[[], int]:
            chance = random.Random(seed)  # noqa: S311  (a repeatable mix, no secret)

            def work() -> int:
                for number in range(12):
                    new = [
                        factories.NewTransactionFactory.build(
                            idempotency_key=f"{chance.randrange(10**9)}:{seed}:{number}:{place}",
                            tenant_id=tenant_id,
                            debit=chance.choice(["accounts_receivable", "deferred_revenue"]),
                            amount_cents=chance.randrange(1, 1000),
                        )
                        for place, tenant_id in enumerate(chance.sample(tenants, 25))
                    ]
                    with transaction.atomic():
                        posting.post_many(book="main", transactions=new)
                return 0

            return work

        outcomes = threads.run_together([batches(seed) for seed in range(8)])
        assert outcomes == [0] * 8
        assert models.Account.objects.exclude(type="usage_revenue").count() > 190
        report = verification.verify_ledger()
        assert (report.transaction_count, report.entry_count, report.faults) == (8 * 12 * 25, 2 * 8 * 12 * 25, [])

    def test_of_the_same_batch_in_two_orders_posts_each_fact_once(self) -> None:
        new = factories.NewTransactionFactory.build_batch(40)

        def all_of(order: list[posting.NewTransaction]) -> Callable[[], list[int]]:
            def work() -> list[int]:
                with transaction.atomic():
                    posted = posting.post_many(book="main", transactions=order)
                return sorted(row.transaction_id for row in posted)

            return work

        outcomes = threads.run_together([all_of(new), all_of(new[::-1])] * 4)
        assert outcomes == [sorted(models.Transaction.objects.values_list("pk", flat=True))] * 8
        books.verify()

    def test_across_calls_is_retried_as_a_whole(self) -> None:
        """Two calls in one transaction can wait for each other; ``retrying`` runs the loser again."""

        def both(first: str, second: str) -> Callable[[], None]:
            def in_order() -> None:
                for tenant_id in (first, second):
                    factories.TransactionFactory(tenant_id=tenant_id, credit="deferred_revenue")
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT pg_sleep(0.1)")

            return lambda: database.retrying(in_order)

        outcomes = threads.run_together([both("acme-corp", "globex"), both("globex", "acme-corp")])
        assert outcomes == [None, None]
        assert models.Transaction.objects.count() == 4
        books.verify()


class TestHotAccount:
    def test_is_written_in_several_rows_by_several_writers(self) -> None:
        tenants = [f"tenant-{number}" for number in range(8)]
        outcomes = threads.run_together(
            [poster(factories.NewTransactionFactory.build(tenant_id=tenant_id)) for tenant_id in tenants],
        )
        assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
        assert balances.balance_cents(book="main", account_type="usage_revenue", currency="USD") == 8000
        assert models.Balance.objects.filter(account__type="usage_revenue", last_seq__gt=0).count() > 1
        books.verify()
