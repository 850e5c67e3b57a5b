"""Due rows: claimed once, settled while the claim holds, tried again by the policy, quarantined at its end."""

from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from django.contrib.auth.models import User
from django.db import connections, models

from billing_site.kernel import database, retry
from billing_site.kernel.models import DueRow
from tests.support import threads

NOW = datetime(2026, 11, 1, tzinfo=UTC)
POLICY = retry.RetryPolicy(
    initial=timedelta(minutes=1),
    factor=4,
    maximum=timedelta(hours=1),
    attempts=4,
    final_codes=frozenset({"stolen_card"}),
)
HOLD = timedelta(minutes=5)


class TestRetryPolicy:
    def test_waits_longer_each_time_up_to_the_maximum_and_then_never(self) -> None:
        waits = [POLICY.next_attempt_at(attempts=n, now=NOW) for n in (1, 2, 3, 4)]
        assert waits == [NOW + timedelta(minutes=1), NOW + timedelta(minutes=4), NOW + timedelta(minutes=16), None]
        assert retry.RetryPolicy(timedelta(minutes=1), 4, timedelta(minutes=2), 9).next_attempt_at(
            attempts=5,
            now=NOW,
        ) == NOW + timedelta(minutes=2)

    def test_does_not_try_a_final_code_again(self) -> None:
        assert POLICY.next_attempt_at(attempts=1, now=NOW, code="stolen_card") is None


class Chore(DueRow):
    """A due row for these tests alone; its table is made by the fixture."""

    name = models.CharField(max_length=20)
    objects: ClassVar[models.Manager["Chore"]] = models.Manager()

    class Meta:
        app_label = "tests"  # no installed app: the model is seen by these tests alone
        db_table = "test_chore"

    def __str__(self) -> str:
        return self.name


@pytest.fixture
def chores(committed_db: str) -> type[Chore]:
    with connections["owner"].schema_editor() as editor:
        editor.create_model(Chore)
    with connections["owner"].cursor() as cursor:
        cursor.execute(f"GRANT SELECT, INSERT, UPDATE ON test_chore TO {database.service_role()}")
    return Chore


def claim(limit: int = 10, now: datetime = NOW) -> list[Chore]:
    return retry.claim_due(Chore.objects.all(), now=now, limit=limit, hold=HOLD, policy=POLICY)


class TestClaimDue:
    def test_claims_what_is_due_and_nothing_else(self, chores: type[Chore]) -> None:
        chores.objects.create(name="due", next_attempt_at=NOW)
        chores.objects.create(name="later", next_attempt_at=NOW + timedelta(seconds=1))
        chores.objects.create(name="done", next_attempt_at=None)
        chores.objects.create(name="put away", next_attempt_at=NOW, quarantined_at=NOW)
        chores.objects.create(name="held", next_attempt_at=NOW, claimed_until=NOW + HOLD)
        chores.objects.create(name="left behind", next_attempt_at=NOW, claimed_until=NOW - HOLD, attempts=1)
        assert {row.name for row in claim()} == {"due", "left behind"}
        assert chores.objects.get(name="due").attempts == 1
        assert claim() == []

    def test_gives_each_row_to_one_of_8_workers(self, chores: type[Chore]) -> None:
        chores.objects.bulk_create([Chore(name=str(n), next_attempt_at=NOW) for n in range(40)])
        claimed = threads.results(threads.run_together([lambda: [row.name for row in claim(limit=5)]] * 8))
        names = [name for batch in claimed for name in batch]
        assert len(names) == len(set(names))
        while batch := claim():
            names += [row.name for row in batch]
        assert sorted(names) == sorted(str(n) for n in range(40))

    def test_quarantines_a_row_that_kills_its_worker_each_time(self, chores: type[Chore]) -> None:
        chores.objects.create(name="poison", next_attempt_at=NOW)
        chores.objects.create(name="fine", next_attempt_at=NOW)
        seen: list[str] = []
        for day in range(6):
            for row in claim(now=NOW + timedelta(days=day)):
                seen.append(row.name)
                if row.name == "fine":
                    with retry.holding(row) as held:
                        held.settle()
                        held.save()
        poison = chores.objects.get(name="poison")
        assert seen.count("poison") == POLICY.attempts
        assert seen.count("fine") == 1
        assert poison.quarantined_at == NOW + timedelta(days=POLICY.attempts)
        assert "died" in poison.last_error

    def test_goes_on_past_a_row_that_it_quarantines(self, chores: type[Chore]) -> None:
        chores.objects.create(name="poison", next_attempt_at=NOW, attempts=POLICY.attempts)
        chores.objects.create(name="fine", next_attempt_at=NOW + timedelta(seconds=1))
        assert [row.name for row in claim(limit=1, now=NOW + timedelta(minutes=1))] == ["fine"]


class TestHolding:
    def test_refuses_the_effect_once_the_claim_is_lost(self, chores: type[Chore]) -> None:
        chores.objects.create(name="slow", next_attempt_at=NOW)
        (first,) = claim()
        (second,) = claim(now=NOW + HOLD + timedelta(seconds=1))
        with pytest.raises(retry.ClaimLost), retry.holding(first):
            User.objects.create(username="an effect")
        with retry.holding(second) as held:
            held.settle()
            held.save()
        assert not User.objects.exists()
        with pytest.raises(retry.ClaimLost), retry.holding(second):
            pass


class TestRelease:
    def test_schedules_by_the_policy_then_quarantines(self, chores: type[Chore]) -> None:
        chores.objects.create(name="flaky", next_attempt_at=NOW)
        now, dues = NOW, []
        while rows := claim(now=now):
            retry.release(rows[0], now=now, policy=POLICY, error="refused")
            row = chores.objects.get()
            dues.append(row.next_attempt_at)
            now = row.next_attempt_at or now
        assert [due and due - NOW for due in dues] == [
            timedelta(minutes=1),
            timedelta(minutes=5),
            timedelta(minutes=21),
            None,
        ]
        assert (row.quarantined_at, row.last_error, row.claim_token) == (now, "refused", None)

    def test_leaves_a_row_alone_that_is_another_workers_now(self, chores: type[Chore]) -> None:
        chores.objects.create(name="slow", next_attempt_at=NOW)
        (first,) = claim()
        (second,) = claim(now=NOW + HOLD + timedelta(seconds=1))
        retry.release(first, now=NOW, policy=POLICY, error="too late")
        row = chores.objects.get()
        assert (row.claim_token, row.last_error) == (second.claim_token, "")
