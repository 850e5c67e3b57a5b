"""
Replaying dead letters: taking in again what was refused, as it was sent or corrected.

A replay is held to the same rules as any event, quotas too, and is stored once by its idempotency key. One that fails
leaves its letter open with the new reason. An event that was sent without a time happened when it first arrived, not
when it is replayed.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet

from billing_site.kernel import database
from metering import cloud_events, dead_letters, errors, gateway, ingestion, models, schemas, thresholds

_log = logging.getLogger(__name__)

_SLICE: Final = 200
_INCOMPLETE: Final = "payload_incomplete"
_FAILED: Final = "internal_error"

Progress = Callable[[int, int | None], None]


def silently(done: int, total: int | None) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class ReplayReport:
    """
    What a run did: letters taken in, letters that failed again and why, letters that somebody else was at.

    ``remaining`` of the chosen letters are still open, those that failed among them.
    """

    replayed: int
    failed: int
    failed_by_code: Mapping[str, int]
    busy: int
    remaining: int
    needs_person: bool


@dataclass(frozen=True)
class _Fault:
    code: str
    detail: str


@dataclass(frozen=True)
class _Attempt:
    """A letter with the text to take in for it, and the tenant that this text must be of (None: any)."""

    letter: models.DeadLetter
    text: bytes
    correction: str
    only_tenant_id: str | None


def replay(
    *,
    letter_id: str,
    actor: str,
    now: datetime,
    event: bytes | None = None,
    allow_backfill: bool = False,
    only_tenant_id: str | None = None,
) -> models.DeadLetter:
    """
    Take a dead letter's event in, or the corrected ``event`` (JSON) in its place; the letter as it then is.

    It is replayed when the event is stored, now or before, and else open with the new reason. ``only_tenant_id`` sees
    and takes only that tenant's. Without a correction, the event must be of the tenant that the letter is of: what a
    tenant's key was refused for another tenant stays refused, whoever replays it.
    Idempotency: by the event's key. Locks: the letter's claim, then what ``ingest`` locks, then the letter. Requires an
    open transaction.

    Raises:
        errors.DeadLetterNotFound, errors.DeadLetterBusy, errors.DeadLetterResolved.
        errors.PayloadIncomplete: the stored text is not all that was sent, and there is no corrected event.
    """
    letter = dead_letters.claim_one(letter_id=letter_id, only_tenant_id=only_tenant_id)
    dead_letters.require_open(letter)
    if event is None and not dead_letters.is_whole(letter):
        raise errors.PayloadIncomplete(
            f"{letter.pk}: the payload was cut or is no text; send the event with the replay"
        )
    attempt = _as_sent(letter) if event is None else _Attempt(letter, event, event.decode(), only_tenant_id)
    _take([attempt], actor=actor, now=now, allow_backfill=allow_backfill)
    letter.refresh_from_db()
    return letter


def replay_many(
    *,
    chosen: QuerySet[models.DeadLetter],
    actor: str,
    now: datetime,
    limit: int,
    allow_backfill: bool = False,
    progress: Progress = silently,
) -> ReplayReport:
    """
    Take in the open ones of the chosen letters, oldest first, at most ``limit``.

    Idempotency: by each event's key; safe beside itself, because a letter that somebody else is at is left to him.
    Locks: as ``replay``. Owns its transactions, one for each 200 letters, so that a run cut short has lost nothing. A
    slice that the database refuses is done again letter by letter, so that one letter cannot stop the others.
    """
    still_open = chosen.filter(state=models.DeadLetterState.OPEN)
    total = min(limit, still_open.order_by()[:limit].count())
    replayed = busy = done = 0
    failed: Counter[str] = Counter()
    last_id = ""
    while done < limit:
        ids = list(
            still_open.filter(pk__gt=last_id).order_by("pk").values_list("pk", flat=True)[: min(_SLICE, limit - done)]
        )
        if not ids:
            break
        outcome = _replay_ids(ids, actor=actor, now=now, allow_backfill=allow_backfill)
        faults = Counter(outcome.values())
        replayed += faults.pop("", 0)
        failed.update(faults)
        busy += len(ids) - len(outcome)
        last_id = ids[-1]
        done += len(ids)
        progress(done, total)
    return ReplayReport(
        replayed=replayed,
        failed=failed.total(),
        failed_by_code=dict(failed.most_common()),
        busy=busy,
        remaining=still_open.count(),
        needs_person=failed.total() > 0,
    )


def _replay_ids(ids: Sequence[str], *, actor: str, now: datetime, allow_backfill: bool) -> dict[str, str]:
    """The verdict on each letter that could be had: empty where it was taken in."""
    work = partial(_replay_slice, ids, actor=actor, now=now, allow_backfill=allow_backfill)
    try:
        return database.retrying(work)
    except (DatabaseError, ValueError) as error:
        if not connection.is_usable():
            raise
        if len(ids) == 1:
            _log.exception("%s: could not be replayed", ids[0])
            return {ids[0]: database.raised_constraint(error) or _FAILED}
    verdicts: dict[str, str] = {}
    for one in ids:
        verdicts |= _replay_ids([one], actor=actor, now=now, allow_backfill=allow_backfill)
    return verdicts


def _replay_slice(ids: Collection[str], *, actor: str, now: datetime, allow_backfill: bool) -> dict[str, str]:
    letters = dead_letters.claim(letter_ids=ids)
    verdicts = {letter.pk: _INCOMPLETE for letter in letters if not dead_letters.is_whole(letter)}
    attempts = [_as_sent(letter) for letter in letters if letter.pk not in verdicts]
    return verdicts | _take(attempts, actor=actor, now=now, allow_backfill=allow_backfill)


def _as_sent(letter: models.DeadLetter) -> _Attempt:
    return _Attempt(letter, letter.payload.encode(), "", letter.tenant_id or None)


def _take(attempts: Sequence[_Attempt], *, actor: str, now: datetime, allow_backfill: bool) -> dict[str, str]:
    """Take in what can be, and write down what became of each letter; its verdict, empty where it was taken in."""
    if not attempts:
        return {}
    faults: dict[int, _Fault] = {}
    events: dict[int, schemas.EventIn] = {}
    for place, attempt in enumerate(attempts):
        event = read_event(attempt.text)
        if isinstance(event, schemas.Refusal):
            faults[place] = _Fault(event.code, event.detail)
        elif attempt.only_tenant_id is not None and event.tenant_id != attempt.only_tenant_id:
            detail = f"tenant_id: the event was sent for {attempt.only_tenant_id!r}"
            faults[place] = _Fault(schemas.Code.TENANT_FORBIDDEN, detail)
        else:
            events[place] = event
    arrivals = {place: attempts[place].letter.first_seen_at for place in events}
    known = _ingest(events, arrivals, faults, now=now, allow_backfill=allow_backfill)
    _write_down(attempts, faults, actor=actor, now=now, note="stored before" if known else "")
    return {
        attempt.letter.pk: str(faults[place].code) if place in faults else "" for place, attempt in enumerate(attempts)
    }


def _ingest(
    events: dict[int, schemas.EventIn],
    arrivals: Mapping[int, datetime],
    faults: dict[int, _Fault],
    *,
    now: datetime,
    allow_backfill: bool,
) -> bool:
    """
    Store what passes, and note the faults of what does not; whether all that passed was stored before.

    What is refused would be kept as a dead letter once more, so a round with refusals is undone, and the rest done
    again without them.
    """
    refused_pairs = thresholds.refused_pairs(now=now) if events else {}
    while events:
        places = list(events)
        with transaction.atomic():
            report = ingestion.ingest(
                events=list(events.values()),
                now=now,
                allow_backfill=allow_backfill,
                refused_pairs=refused_pairs,
                arrivals={position: arrivals[place] for position, place in enumerate(places)},
            )
            if not report.errors:
                return report.accepted == 0
            transaction.set_rollback(True)
        for verdict in report.errors:
            place = places[verdict.index]
            faults[place] = _Fault(verdict.code, verdict.detail)
            del events[place]
    return False


def _write_down(
    attempts: Sequence[_Attempt], faults: Mapping[int, _Fault], *, actor: str, now: datetime, note: str
) -> None:
    dead_letters.lock_rows([attempt.letter.pk for attempt in attempts])
    taken = [attempt.letter.pk for place, attempt in enumerate(attempts) if place not in faults]
    models.DeadLetter.objects.filter(pk__in=taken).update(
        state=models.DeadLetterState.REPLAYED, resolved_at=now, resolved_by=actor
    )
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE metering_dead_letter AS letter SET code = failed.code, detail = failed.detail
            FROM unnest(%s::text[], %s::text[], %s::text[]) AS failed(id, code, detail)
            WHERE letter.id = failed.id
            """,
            [
                [attempts[place].letter.pk for place in faults],
                [str(fault.code) for fault in faults.values()],
                [dead_letters.cut_detail(fault.detail) for fault in faults.values()],
            ],
        )
    models.DeadLetterAction.objects.bulk_create(
        _action(attempt, faults.get(place), actor=actor, now=now, note=note) for place, attempt in enumerate(attempts)
    )


def _action(
    attempt: _Attempt, fault: _Fault | None, *, actor: str, now: datetime, note: str
) -> models.DeadLetterAction:
    return models.DeadLetterAction(
        letter=attempt.letter,
        step=models.DeadLetterStep.REPLAY_FAILED if fault else models.DeadLetterStep.REPLAYED,
        actor=actor,
        code=str(fault.code) if fault else "",
        detail=dead_letters.cut_detail(fault.detail) if fault else note,
        event=attempt.correction,
        created_at=now,
    )


def read_event(text: bytes) -> schemas.EventIn | schemas.Refusal:
    """Read a text as the event that it is, in whichever of our formats it was sent."""
    if gateway.is_record(text):
        return gateway.decode_record(text)
    return cloud_events.decode_event(text) if cloud_events.is_cloud_event(text) else schemas.decode_event(text)
