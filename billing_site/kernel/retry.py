"""
Due rows: claimed, worked, settled or scheduled again.

A claim is a short transaction that commits ``attempts + 1`` and ``claimed_until``. No lock is held while the work talks
to the outside. The work's effect commits only inside ``holding``, which sees that the claim is still ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import transaction
from django.db.models import Q, QuerySet

from billing_site.kernel import models

R = TypeVar("R", bound=models.DueRow)


class ClaimLost(Exception):
    """The claim ran out and another worker took the row; what was about to be written must not be."""


@dataclass(frozen=True)
class RetryPolicy:
    """
    How often and how soon to try again: ``initial``, then ``factor`` times longer each time up to ``maximum``.

    ``attempts`` bounds all tries; an error whose code is in ``final_codes`` is not tried again.
    """

    initial: timedelta
    factor: int
    maximum: timedelta
    attempts: int
    final_codes: frozenset[str] = field(default_factory=frozenset)

    def next_attempt_at(self, *, attempts: int, now: datetime, code: str = "") -> datetime | None:
        """When to try again after ``attempts`` tries; None: never."""
        if attempts >= self.attempts or code in self.final_codes:
            return None
        wait = self.initial
        for _ in range(attempts - 1):
            wait *= self.factor
            if wait >= self.maximum:
                break
        return now + min(wait, self.maximum)


def claim_due(
    queryset: QuerySet[R],
    *,
    now: datetime,
    limit: int,
    hold: timedelta,
    policy: RetryPolicy,
) -> list[R]:
    """
    Claim up to ``limit`` rows that are due and that nobody holds, in a transaction of its own.

    Locks: the rows, SKIP LOCKED, only until the claim is committed. Rows that were claimed ``policy.attempts`` times
    and never settled (their work kills its worker) are quarantined here and not answered.
    """
    with transaction.atomic():
        claimed: list[R] = []
        # Past the rows that are quarantined here: one that kills its worker must not end a sweep for the others.
        while len(claimed) < limit and (due := _lock_due(queryset, now=now, limit=limit - len(claimed))):
            for row in due:
                if row.attempts >= policy.attempts:
                    _quarantine(row, now=now, error=row.last_error or "its worker died each time it was tried")
                    continue
                row.claim(until=now + hold)
                row.save(update_fields=["attempts", "claimed_until", "claim_token"])
                claimed.append(row)
        return claimed


def _lock_due(queryset: QuerySet[R], *, now: datetime, limit: int) -> list[R]:
    return list(
        queryset.filter(next_attempt_at__lte=now, quarantined_at=None)
        .filter(Q(claimed_until=None) | Q(claimed_until__lt=now))
        .order_by("next_attempt_at", "pk")
        .select_for_update(skip_locked=True, of=("self",))[:limit],
    )


@contextmanager
def holding(row: R) -> Iterator[R]:
    """
    Open a transaction in which the claimed row is locked and still ours; its effect belongs inside.

    Raises:
        ClaimLost: another worker claimed the row since.
    """
    with transaction.atomic():
        held = type(row)._base_manager.select_for_update(of=("self",)).get(pk=row.pk)  # noqa: SLF001
        if held.claim_token != row.claim_token or row.claim_token is None:
            raise ClaimLost(f"{row} was claimed by another worker")
        yield held


def release(row: models.DueRow, *, now: datetime, policy: RetryPolicy, error: str, code: str = "") -> None:
    """
    Give a claimed row back after a failure: due again by the policy, or quarantined where that has no more attempts.

    Does nothing where the claim was lost: then the row is another worker's.
    """
    try:
        with holding(row) as held:
            again = policy.next_attempt_at(attempts=held.attempts, now=now, code=code)
            if again is None:
                _quarantine(held, now=now, error=error)
                return
            held.next_attempt_at = again
            held.claimed_until = None
            held.claim_token = None
            held.last_error = error
            held.save(update_fields=["next_attempt_at", "claimed_until", "claim_token", "last_error"])
    except ClaimLost:
        return


def _quarantine(row: models.DueRow, *, now: datetime, error: str) -> None:
    row.next_attempt_at = None
    row.claimed_until = None
    row.claim_token = None
    row.quarantined_at = now
    row.last_error = error
    row.save(update_fields=["next_attempt_at", "claimed_until", "claim_token", "quarantined_at", "last_error"])
