"""A closed period stays closed: for late facts, for raw SQL, and while somebody is just posting."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.db.utils import IntegrityError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_site.kernel import database
from ledger import balances, books, errors, models, periods, posting
from tests.factories import ledger as factories
from tests.ledger import rawsql
from tests.support import threads

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
JANUARY = datetime(2027, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
NOW = JANUARY + timedelta(days=3)


def change(work: Callable[..., models.Period], end: datetime, **given_: Any) -> models.Period:
    values = {"book": "main", "period_start": None, "actor": "key_1", "reason": "month end", "now": NOW}
    with transaction.atomic():
        return work(**values | {"period_end": end} | given_)


def close(end: datetime, **given_: Any) -> models.Period:
    return change(periods.close_period, end, **given_)


def reopen(end: datetime, **given_: Any) -> models.Period:
    return change(periods.reopen_period, end, **given_)


def snapshot(period: models.Period) -> dict[str, int]:
    return dict(period.balances.values_list("account__type", "balance_cents"))


@pytest.mark.django_db
class TestClosePeriod:
    def test_says_who_when_and_why(self) -> None:
        period = close(NOVEMBER, period_start=OCTOBER)
        assert (period.book_id, period.starts_at, period.ends_at) == ("main", OCTOBER, NOVEMBER)
        assert (period.state, period.revision) == ("closed", 1)
        assert (period.closed_at, period.closed_by, period.close_reason) == (NOW, "key_1", "month end")
        assert (period.reopened_at, period.reopened_by, period.reopen_reason) == (None, "", "")

    def test_follows_the_last_one(self) -> None:
        close(NOVEMBER, period_start=OCTOBER)
        assert close(DECEMBER).starts_at == NOVEMBER
        assert close(JANUARY, period_start=DECEMBER).starts_at == DECEMBER

    @pytest.mark.parametrize("start", [OCTOBER, NOVEMBER - TICK, NOVEMBER + TICK])
    def test_leaves_no_gap_and_closes_nothing_twice(self, start: datetime) -> None:
        last = close(NOVEMBER, period_start=OCTOBER)
        with pytest.raises(errors.PeriodOutOfOrder) as caught:
            close(DECEMBER, period_start=start)
        assert caught.value.extra == {
            "book": "main",
            "closed_until": "2026-11-01T00:00:00Z",
            "last_closed_period_id": last.public_id,
        }

    @pytest.mark.parametrize(
        ("given_", "error"),
        [
            ({"period_start": None}, errors.FirstPeriodNeedsStart),
            ({"period_start": NOVEMBER}, errors.InvalidPeriod),
            ({"period_start": DECEMBER}, errors.InvalidPeriod),
            ({"now": NOVEMBER - TICK}, errors.InvalidPeriod),
            ({"reason": ""}, errors.InvalidPeriod),
            ({"actor": ""}, errors.InvalidPeriod),
            ({"book": "nowhere"}, errors.BookNotFound),
        ],
    )
    def test_refuses(self, given_: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            close(NOVEMBER, **{"period_start": OCTOBER} | given_)
        assert not models.Period.objects.exists()

    def test_keeps_what_each_account_held_at_its_end(self) -> None:
        factories.TransactionFactory(amount_cents=100, occurred_at=OCTOBER - TICK)
        factories.TransactionFactory(amount_cents=20, occurred_at=NOVEMBER - TICK)
        factories.TransactionFactory(amount_cents=3, occurred_at=NOVEMBER)
        factories.TransactionFactory(debit="cash", credit="accounts_receivable", amount_cents=120)
        first = close(NOVEMBER, period_start=OCTOBER)
        assert snapshot(first) == {"accounts_receivable": 120, "usage_revenue": 120}
        factories.TransactionFactory(amount_cents=4, occurred_at=DECEMBER)
        assert snapshot(close(DECEMBER)) == {"accounts_receivable": 3, "usage_revenue": 123, "cash": 120}
        assert snapshot(first) == {"accounts_receivable": 120, "usage_revenue": 120}

    def test_leaves_other_books_alone(self) -> None:
        books.open_book(code="acme-eu", name="Acme Europe")
        factories.TransactionFactory(occurred_at=OCTOBER, book="acme-eu")
        assert snapshot(close(NOVEMBER, period_start=OCTOBER)) == {}
        late = factories.TransactionFactory(occurred_at=OCTOBER, book="acme-eu")
        assert late.effective_at == OCTOBER
        assert close(DECEMBER, period_start=OCTOBER, book="acme-eu").starts_at == OCTOBER


@pytest.mark.django_db
class TestReopenPeriod:
    def test_says_who_when_and_why(self) -> None:
        close(NOVEMBER, period_start=OCTOBER)
        period = reopen(NOVEMBER, reason="a bill was forgotten", actor="key_2")
        assert (period.state, period.reopened_at) == ("reopened", NOW)
        assert (period.reopened_by, period.reopen_reason) == ("key_2", "a bill was forgotten")
        assert (period.closed_by, period.close_reason) == ("key_1", "month end")

    def test_lets_a_late_fact_in_again(self) -> None:
        close(NOVEMBER, period_start=OCTOBER)
        reopen(NOVEMBER)
        assert factories.TransactionFactory(occurred_at=OCTOBER).effective_at == OCTOBER

    def test_leads_to_another_revision_and_keeps_the_first(self) -> None:
        factories.TransactionFactory(amount_cents=100, occurred_at=OCTOBER)
        first = close(NOVEMBER, period_start=OCTOBER)
        reopen(NOVEMBER)
        factories.TransactionFactory(amount_cents=20, occurred_at=OCTOBER)
        second = close(NOVEMBER, period_start=OCTOBER)
        assert (first.revision, second.revision) == (1, 2)
        assert snapshot(first)["usage_revenue"] == 100
        assert snapshot(second)["usage_revenue"] == 120
        assert balances.balance_cents(book="main", account_type="usage_revenue", currency="USD", as_of=NOVEMBER) == 120

    def test_begins_with_the_last(self) -> None:
        close(NOVEMBER, period_start=OCTOBER)
        last = close(DECEMBER)
        with pytest.raises(errors.PeriodNotLast) as caught:
            reopen(NOVEMBER)
        assert caught.value.extra["last_closed_period_id"] == last.public_id
        reopen(DECEMBER)
        assert reopen(NOVEMBER).state == "reopened"

    def test_refuses_what_is_not_closed(self) -> None:
        with pytest.raises(errors.PeriodNotClosed) as caught:
            reopen(NOVEMBER)
        assert caught.value.extra["closed_until"] is None
        close(NOVEMBER, period_start=OCTOBER)
        with pytest.raises(errors.PeriodNotClosed):
            reopen(NOVEMBER, period_start=OCTOBER + TICK)
        with pytest.raises(errors.InvalidPeriod):
            reopen(NOVEMBER, reason="")
        reopen(NOVEMBER)
        with pytest.raises(errors.PeriodNotClosed):
            reopen(NOVEMBER)


@pytest.mark.django_db
class TestLateFact:
    @pytest.fixture(autouse=True)
    def _closed(self) -> None:
        close(NOVEMBER, period_start=OCTOBER)

    @pytest.mark.parametrize("occurred_at", [OCTOBER - timedelta(days=9), OCTOBER, NOVEMBER - TICK])
    def test_takes_effect_at_the_first_open_instant(self, occurred_at: datetime) -> None:
        posted = factories.TransactionFactory(occurred_at=occurred_at)
        assert (posted.occurred_at, posted.effective_at) == (occurred_at, NOVEMBER)
        stored = models.Transaction.objects.get()
        assert (stored.occurred_at, stored.effective_at) == (occurred_at, NOVEMBER)
        assert {entry.effective_at for entry in stored.entries.all()} == {NOVEMBER}

    @pytest.mark.parametrize("occurred_at", [NOVEMBER, NOVEMBER + TICK])
    def test_is_none_when_the_period_is_open(self, occurred_at: datetime) -> None:
        assert factories.TransactionFactory(occurred_at=occurred_at).effective_at == occurred_at

    def test_is_a_replay_after_the_closing_as_it_was_before(self) -> None:
        new = factories.NewTransactionFactory.build(occurred_at=NOVEMBER)
        with transaction.atomic():
            first = posting.post(book="main", transaction=new)
        close(DECEMBER)
        with transaction.atomic():
            assert posting.post(book="main", transaction=new) == first
        assert models.Transaction.objects.get().effective_at == NOVEMBER


class TestRawInsert:
    """The owner of the tables, past every function."""

    def closed(self, cursor: psycopg.Cursor, book: str, start: datetime, end: datetime, **row: Any) -> int:
        values = {
            "book_id": book,
            "starts_at": start,
            "ends_at": end,
            "revision": 1,
            "state": "closed",
            "closed_at": NOW,
            "closed_by": "owner",
            "close_reason": "by hand",
            "reopened_by": "",
            "reopen_reason": "",
        }
        cursor.execute("SELECT 1")  # opens the test's own transaction, else the next would be the outermost and commit
        with cursor.connection.transaction():
            return rawsql.insert(cursor, "ledger_period", [values | row])

    def refused(self, cursor: psycopg.Cursor, statement: str, constraint: str, *values: Any) -> None:
        with pytest.raises(psycopg.errors.CheckViolation) as caught, cursor.connection.transaction():
            cursor.execute(statement, values)
        assert caught.value.diag.constraint_name == constraint

    @pytest.mark.parametrize("role", ["origin", "replica"])
    def test_into_a_closed_period_is_refused(self, superuser_cursor: psycopg.Cursor, role: str) -> None:
        superuser_cursor.execute(f"SET session_replication_role = {role}")
        forgery = rawsql.honest(superuser_cursor, key="late")
        self.closed(superuser_cursor, "main", rawsql.BOOKED - TICK, rawsql.BOOKED + TICK)
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            forgery.write(superuser_cursor)
        assert caught.value.diag.constraint_name == "ledger_closed_period_stays_closed"

    def test_at_the_first_open_instant_is_not(self, owner_cursor: psycopg.Cursor) -> None:
        self.closed(owner_cursor, "main", OCTOBER, rawsql.BOOKED)
        rawsql.honest(owner_cursor, key="first").write(owner_cursor)

    def test_with_an_old_snapshot_is_refused(self, committed_db: str, owner_cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(owner_cursor, key="late")
        owner_cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            forgery.write(owner_cursor)
        assert caught.value.diag.constraint_name == "ledger_is_written_at_read_committed"
        owner_cursor.execute("ROLLBACK")

    @pytest.mark.parametrize("role", ["origin", "replica"])
    def test_of_a_period_out_of_order_is_refused(self, superuser_cursor: psycopg.Cursor, role: str) -> None:
        superuser_cursor.execute(f"SET session_replication_role = {role}")
        self.closed(superuser_cursor, "main", OCTOBER, NOVEMBER)
        for start in (OCTOBER, NOVEMBER - TICK, NOVEMBER + TICK):
            with pytest.raises(psycopg.errors.CheckViolation) as caught:
                self.closed(superuser_cursor, "main", start, DECEMBER)
            assert caught.value.diag.constraint_name == "ledger_periods_are_closed_in_order"

    def test_of_a_period_that_was_never_closed_is_refused(self, owner_cursor: psycopg.Cursor) -> None:
        row = {"state": "reopened", "reopened_at": NOW, "reopened_by": "owner", "reopen_reason": "by hand"}
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            self.closed(owner_cursor, "main", OCTOBER, NOVEMBER, **row)
        assert caught.value.diag.constraint_name == "ledger_periods_are_closed_in_order"

    @pytest.mark.parametrize(
        ("row", "constraint"),
        [
            ({"ends_at": OCTOBER}, "ledger_period_ends_after_it_starts"),
            ({"closed_at": NOVEMBER - TICK}, "ledger_period_is_over_when_closed"),
            ({"closed_by": ""}, "ledger_period_says_who_closed_it_and_why"),
            ({"close_reason": ""}, "ledger_period_says_who_closed_it_and_why"),
            ({"reopened_by": "x"}, "ledger_period_says_who_reopened_it_and_why"),
        ],
    )
    def test_of_half_a_period_is_refused(
        self, owner_cursor: psycopg.Cursor, row: dict[str, Any], constraint: str
    ) -> None:
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            self.closed(owner_cursor, "main", OCTOBER, NOVEMBER, **row)
        assert caught.value.diag.constraint_name == constraint

    def test_of_a_period_takes_its_snapshot_and_revision(self, owner_cursor: psycopg.Cursor) -> None:
        rawsql.honest(owner_cursor, key="first").write(owner_cursor)
        period_id = self.closed(owner_cursor, "main", OCTOBER, DECEMBER, revision=7)
        owner_cursor.execute(
            "SELECT revision, array_agg(balance_cents) FROM ledger_period p JOIN ledger_period_balance b"
            " ON b.period_id = p.id WHERE p.id = %s GROUP BY p.id",
            [period_id],
        )
        assert owner_cursor.fetchone() == (1, [100, 100])

    @pytest.mark.parametrize("role", ["origin", "replica"])
    def test_of_a_snapshots_row_is_refused(self, superuser_cursor: psycopg.Cursor, role: str) -> None:
        superuser_cursor.execute(f"SET session_replication_role = {role}")
        account_id = rawsql.account(superuser_cursor, "deferred_revenue", "acme-corp")
        period_id = self.closed(superuser_cursor, "main", OCTOBER, NOVEMBER)
        self.refused(
            superuser_cursor,
            "INSERT INTO ledger_period_balance (period_id, account_id, balance_cents) VALUES (%s, %s, 1)",
            "ledger_snapshot_is_taken_by_closing",
            period_id,
            account_id,
        )

    @pytest.mark.parametrize("role", ["origin", "replica"])
    def test_is_undone_by_no_update(self, superuser_cursor: psycopg.Cursor, role: str) -> None:
        superuser_cursor.execute(f"SET session_replication_role = {role}")
        first = self.closed(superuser_cursor, "main", OCTOBER, NOVEMBER)
        last = self.closed(superuser_cursor, "main", NOVEMBER, DECEMBER)
        reopened = "state = 'reopened', reopened_at = now(), reopened_by = 'x', reopen_reason = 'x'"
        append_only = "ledger_history_is_append_only"
        for statement, constraint, period_id in [
            ("UPDATE ledger_period SET ends_at = ends_at - interval '1 day' WHERE id = %s", append_only, last),
            ("UPDATE ledger_period SET closed_by = 'nobody' WHERE id = %s", append_only, last),
            (f"UPDATE ledger_period SET {reopened}, closed_by = 'x' WHERE id = %s", append_only, last),
            (f"UPDATE ledger_period SET {reopened} WHERE id = %s", "ledger_last_period_is_reopened_first", first),
        ]:
            self.refused(superuser_cursor, statement, constraint, period_id)
        superuser_cursor.execute(f"UPDATE ledger_period SET {reopened} WHERE id = %s", [last])
        self.refused(superuser_cursor, "UPDATE ledger_period SET state = 'closed' WHERE id = %s", append_only, last)


@pytest.mark.usefixtures("committed_db")
class TestRace:
    """Real commits: a post in flight and a closing wait for each other."""

    def post(self) -> models.Transaction:
        return factories.TransactionFactory(amount_cents=5, occurred_at=NOVEMBER - TICK)

    def test_of_a_post_in_flight_is_waited_for_and_counted(self) -> None:
        posted, release = threading.Event(), threading.Event()

        def slowly() -> models.Transaction:
            with transaction.atomic():
                one = self.post()
                posted.set()
                assert release.wait(threads.PATIENCE_SECONDS)
            return one

        def closing() -> models.Period:
            assert posted.wait(threads.PATIENCE_SECONDS)
            threading.Timer(0.5, release.set).start()
            return close(NOVEMBER, period_start=OCTOBER)

        one, period = threads.results(threads.run_together([slowly, closing]))
        assert isinstance(one, models.Transaction)
        assert isinstance(period, models.Period)
        assert one.effective_at == NOVEMBER - TICK
        assert snapshot(period) == {"accounts_receivable": 5, "usage_revenue": 5}

    def test_of_a_closing_in_flight_is_waited_for_and_obeyed(self) -> None:
        closed, release = threading.Event(), threading.Event()

        def closing() -> models.Period:
            with transaction.atomic():
                period = close(NOVEMBER, period_start=OCTOBER)
                closed.set()
                assert release.wait(threads.PATIENCE_SECONDS)
            return period

        def late() -> models.Transaction:
            assert closed.wait(threads.PATIENCE_SECONDS)
            threading.Timer(0.5, release.set).start()
            return self.post()

        period, one = threads.results(threads.run_together([closing, late]))
        assert isinstance(one, models.Transaction)
        assert isinstance(period, models.Period)
        assert one.effective_at == NOVEMBER
        assert snapshot(period) == {}

    def test_of_a_raw_insert_that_waits_is_refused(self, owner_cursor: psycopg.Cursor) -> None:
        forgery = rawsql.honest(owner_cursor, key="late")
        forgery.header["occurred_at"] = forgery.header["effective_at"] = NOVEMBER - TICK
        for entry in forgery.entries:
            entry["effective_at"] = NOVEMBER - TICK
        closed, release = threading.Event(), threading.Event()

        def closing() -> None:
            with transaction.atomic():
                close(NOVEMBER, period_start=OCTOBER)
                closed.set()
                assert release.wait(threads.PATIENCE_SECONDS)

        def insert() -> None:
            assert closed.wait(threads.PATIENCE_SECONDS)
            threading.Timer(0.5, release.set).start()
            forgery.write(owner_cursor)

        _, outcome = threads.run_together([closing, insert])
        assert isinstance(outcome, psycopg.errors.CheckViolation)
        assert outcome.diag.constraint_name == "ledger_closed_period_stays_closed"

    def test_of_many_leaves_a_snapshot_that_adds_up(self) -> None:
        def posting_many() -> None:
            for _ in range(10):
                self.post()

        def closing() -> models.Period:
            return close(NOVEMBER, period_start=OCTOBER)

        *_, period = threads.results(threads.run_together([*[posting_many] * 6, closing]))
        assert isinstance(period, models.Period)
        inside = models.Transaction.objects.filter(effective_at__lt=NOVEMBER).count()
        assert models.Transaction.objects.filter(effective_at=NOVEMBER).count() == 60 - inside
        assert snapshot(period).get("usage_revenue", 0) == 5 * inside

    def test_of_two_closings_closes_once(self) -> None:
        outcomes = threads.run_together([lambda: close(NOVEMBER, period_start=OCTOBER)] * 8)
        closed = [outcome for outcome in outcomes if isinstance(outcome, models.Period)]
        assert len(closed) == models.Period.objects.count() == 1
        assert sum(isinstance(outcome, errors.PeriodOutOfOrder) for outcome in outcomes) == 7

    def test_needs_transactions_that_stay_open(self) -> None:
        with pytest.raises(transaction.TransactionManagementError):
            periods.close_period(
                book="main", period_start=OCTOBER, period_end=NOVEMBER, actor="key_1", reason="x", now=NOW
            )

    def test_at_another_isolation_level_is_refused(self) -> None:
        closing = "SELECT ledger_close_period('main', %s, %s, %s, 'x', 'x')"
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            with pytest.raises(IntegrityError) as caught, transaction.atomic():
                cursor.execute(closing, [OCTOBER, NOVEMBER, NOW])
        assert database.raised_constraint(caught.value) == "ledger_is_written_at_read_committed"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.integers(0, 90), st.integers(1, 1000)),
        st.tuples(st.sampled_from(["close", "reopen"]), st.integers(1, 80), st.just(0)),
    ),
    max_size=25,
)


@pytest.mark.django_db
class TestHistory:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(steps=STEPS)
    def test_has_the_same_balances_by_snapshots_as_by_its_entries(self, steps: list[tuple[str, int, int]]) -> None:
        day = timedelta(days=1)
        with transaction.atomic():
            for step, number, amount_cents in steps:
                last = periods.find_last_closed(book="main")
                if step == "post":
                    posted = factories.TransactionFactory(occurred_at=OCTOBER + number * day, amount_cents=amount_cents)
                    first_open = last.ends_at if last else OCTOBER
                    assert posted.effective_at == max(posted.occurred_at, first_open)
                elif step == "close":
                    start = last.ends_at if last else OCTOBER
                    end = start + (number % 20 + 1) * day
                    if end <= NOW:
                        close(end, period_start=start)
                elif last is not None:
                    reopen(last.ends_at)
            for number in range(0, 95, 7):
                as_of = OCTOBER + number * day
                entries = models.Entry.objects.filter(account__type="usage_revenue", effective_at__lt=as_of)
                expected = sum(entry.amount_cents for entry in entries)
                named = {"book": "main", "account_type": "usage_revenue", "currency": "USD"}
                assert balances.balance_cents(**named, as_of=as_of) == expected
                rows = {row.account_type: row.balance_cents for row in balances.trial_balance(book="main", as_of=as_of)}
                assert rows.get("usage_revenue", 0) == expected
                assert rows.get("accounts_receivable", 0) == expected
            transaction.set_rollback(True)
