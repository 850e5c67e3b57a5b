"""Dead letters are replayed or discarded, once, by somebody, and the trail tells."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from rest_framework.test import APIClient

from billing_site.kernel.models import ApiKey, OutboxMessage
from metering import aggregation, dead_letters, errors, models, partitions, replays, schemas, thresholds
from metering.models import DeadLetterState, DeadLetterStep
from tests.factories import kernel
from tests.factories import metering as factories
from tests.support.threads import run_together

NOW = factories.NOW
LATER = NOW + timedelta(hours=3)


def sent(**members: Any) -> bytes:
    event = {"tenant_id": "acme-corp", "event_type": "api_call", "idempotency_key": "k1", "quantity": 2, **members}
    return json.dumps(event).encode()


def bury(payload: bytes, *, tenant_id: str = "acme-corp", code: str = "quota_exceeded", now: datetime = NOW) -> str:
    """A letter of an event that was refused, for whatever reason."""
    with transaction.atomic():
        letter = dead_letters.NewDeadLetter(
            tenant_id=tenant_id, payload=payload, code=code, detail="why", source="gateway"
        )
        return dead_letters.keep(letters=[letter], now=now)[0]


def replay(letter_id: str, **options: Any) -> models.DeadLetter:
    with transaction.atomic():
        return replays.replay(letter_id=letter_id, **{"actor": "ann", "now": LATER, **options})


def discard(letter_id: str, **options: Any) -> models.DeadLetter:
    with transaction.atomic():
        return dead_letters.discard(
            letter_id=letter_id, **{"actor": "ann", "now": LATER, "reason": "a test", **options}
        )


def trail(letter_id: str) -> list[tuple[str, str, str]]:
    return list(
        models.DeadLetterAction.objects.filter(letter_id=letter_id).order_by("id").values_list("step", "actor", "code")
    )


@pytest.mark.django_db
class TestReplay:
    def test_takes_the_event_in_and_says_who_did_it_and_when(self) -> None:
        letter = replay(bury(sent()))
        assert (letter.state, letter.resolved_by, letter.resolved_at) == (DeadLetterState.REPLAYED, "ann", LATER)
        assert models.Event.objects.get().quantity == 2
        assert trail(letter.pk) == [(DeadLetterStep.REPLAYED, "ann", "")]
        aggregation.aggregate_usage(now=LATER)
        assert models.UsageSummary.objects.get(granularity="hour", group_key="").total == 2

    def test_leaves_a_letter_that_fails_again_open_with_the_new_reason(self) -> None:
        letter_id = bury(sent(quantity=-1), code="quota_exceeded")
        letter = replay(letter_id)
        assert (letter.state, letter.code, letter.count) == (DeadLetterState.OPEN, "negative_quantity", 1)
        assert (letter.resolved_at, letter.resolved_by) == (None, "")
        assert trail(letter_id) == [(DeadLetterStep.REPLAY_FAILED, "ann", "negative_quantity")]
        assert models.DeadLetter.objects.count() == 1
        assert not models.Event.objects.exists()

    def test_leaves_no_second_letter_of_what_intake_refuses(self) -> None:
        letter_id = bury(sent(event_timestamp="2020-01-01T00:00:00Z"))
        assert replay(letter_id).code == "timestamp_too_old"
        assert models.DeadLetter.objects.count() == 1
        assert not models.EventKey.objects.exists()

    def test_takes_old_events_as_a_backfill(self) -> None:
        letter_id = bury(sent(event_timestamp="2020-01-01T00:00:00Z"), code="timestamp_too_old")
        assert replay(letter_id, allow_backfill=True).state == DeadLetterState.REPLAYED

    def test_takes_a_corrected_event_and_keeps_both(self) -> None:
        letter_id = bury(sent(quantity=-3), code="negative_quantity")
        letter = replay(letter_id, event=sent(quantity=3))
        assert letter.state == DeadLetterState.REPLAYED
        assert json.loads(letter.payload)["quantity"] == -3
        assert json.loads(models.DeadLetterAction.objects.get().event)["quantity"] == 3
        assert models.Event.objects.get().quantity == 3

    def test_keeps_a_corrected_event_that_is_refused_in_the_trail_alone(self) -> None:
        letter_id = bury(sent(quantity=-3), code="negative_quantity")
        letter = replay(letter_id, event=sent(event_type="NO"))
        assert (letter.state, letter.code) == (DeadLetterState.OPEN, "invalid_event_type")
        assert json.loads(models.DeadLetterAction.objects.get().event)["event_type"] == "NO"
        assert models.DeadLetter.objects.count() == 1

    def test_counts_an_event_that_was_stored_meanwhile_once(self) -> None:
        letter_id = bury(sent(event_timestamp="2026-11-20T12:00:00Z"))
        factories.ingest(schemas.decode_event(sent(event_timestamp="2026-11-20T12:00:00Z")))
        assert replay(letter_id).state == DeadLetterState.REPLAYED
        assert models.Event.objects.count() == 1
        assert models.DeadLetterAction.objects.get().detail == "stored before"

    def test_lets_the_stored_event_of_a_conflict_stand(self) -> None:
        factories.ingest(schemas.decode_event(sent()))
        letter_id = bury(sent(quantity=9), code="idempotency_conflict")
        assert replay(letter_id).code == "idempotency_conflict"
        assert replay(letter_id, event=sent(quantity=9, idempotency_key="k2")).state == DeadLetterState.REPLAYED
        assert sorted(models.Event.objects.values_list("quantity", flat=True)) == [2, 9]

    def test_puts_an_event_without_a_time_where_it_first_arrived(self) -> None:
        letter_id = bury(sent(), now=NOW)
        bury(sent(), now=NOW + timedelta(hours=1))
        replay(letter_id, now=NOW + timedelta(days=40))
        event = models.Event.objects.get()
        assert (event.event_timestamp, event.created_at) == (NOW, NOW + timedelta(days=40))

    def test_of_an_event_without_a_time_meets_the_senders_own_retry_as_a_duplicate(self) -> None:
        letter_id = bury(sent(), now=NOW)
        replay(letter_id)
        report = factories.ingest(schemas.decode_event(sent()), now=LATER + timedelta(days=1))
        assert (report.duplicates, report.rejected) == (1, 0)

    def test_takes_a_gateway_record_for_what_it_is(self) -> None:
        record = {"request_id": "r1", "organization_id": "acme-corp", "status_code": 200, "weight": 3}
        letter_id = bury(json.dumps({**record, "time": "2026-11-20T11:00:00Z"}).encode())
        kept = models.DeadLetter.objects.get()
        assert (kept.event_type, kept.event_hour) == ("api.request", int(NOW.timestamp()) // 3600 - 1)
        assert replay(letter_id).state == DeadLetterState.REPLAYED
        assert models.Event.objects.get().quantity == 3

    def test_takes_a_cloud_event_for_what_it_is(self) -> None:
        cloud = {"specversion": "1.0", "id": "7", "source": "//meters", "type": "api_call", "subject": "acme-corp"}
        letter_id = bury(json.dumps({**cloud, "time": "2026-11-20T11:00:00Z", "data": {"quantity": 4}}).encode())
        kept = models.DeadLetter.objects.get()
        assert (kept.event_type, kept.event_hour) == ("api_call", int(NOW.timestamp()) // 3600 - 1)
        assert replay(letter_id).state == DeadLetterState.REPLAYED
        assert models.Event.objects.get().quantity == 4

    def test_takes_what_was_resolved_for_resolved(self) -> None:
        letter_id = bury(sent())
        replay(letter_id)
        with pytest.raises(errors.DeadLetterResolved) as refused:
            replay(letter_id)
        assert refused.value.extra["state"] == "replayed"
        with pytest.raises(errors.DeadLetterResolved):
            discard(letter_id)
        assert len(trail(letter_id)) == 1

    @pytest.mark.parametrize("payload", [b'{"a": "' + b"x" * 70_000 + b'"}', b'{"a": "\xff"}', b'{"a": "\x00"}'])
    def test_refuses_a_payload_that_was_not_kept_whole(self, payload: bytes) -> None:
        letter_id = bury(payload, code="invalid_text")
        with pytest.raises(errors.PayloadIncomplete):
            replay(letter_id)
        assert replay(letter_id, event=sent()).state == DeadLetterState.REPLAYED

    def test_keeps_a_tenant_from_another_tenants_usage_whoever_replays(self) -> None:
        letter_id = bury(sent(tenant_id="victim"), tenant_id="mallory", code="tenant_forbidden")
        assert replay(letter_id).code == "tenant_forbidden"
        assert replay(letter_id, event=sent(tenant_id="victim"), only_tenant_id="mallory").code == "tenant_forbidden"
        assert not models.Event.objects.exists()
        assert replay(letter_id, event=sent(tenant_id="victim")).state == DeadLetterState.REPLAYED

    def test_holds_a_replay_to_the_quota(self) -> None:
        letter_id = bury(sent())
        _use_up_quota()
        assert replay(letter_id).code == "quota_exceeded"
        assert replay(letter_id, now=NOW + timedelta(days=20)).state == DeadLetterState.REPLAYED

    def test_finds_no_letter_of_another_tenant(self) -> None:
        with pytest.raises(errors.DeadLetterNotFound):
            replay(bury(sent()), only_tenant_id="other")
        with pytest.raises(errors.DeadLetterNotFound):
            discard(bury(sent()), only_tenant_id="other")


def _use_up_quota() -> None:
    thresholds.create_threshold(
        tenant_id="acme-corp",
        meter="api_call",
        quantity=1,
        period=models.Granularity.MONTH,
        action=models.ThresholdAction.REFUSE,
        now=NOW,
    )
    factories.ingest_many(2)
    aggregation.aggregate_usage(now=NOW)
    assert thresholds.fire_thresholds(now=NOW).fired == 1


@pytest.mark.django_db
class TestDiscard:
    def test_gives_an_event_up_with_a_reason(self) -> None:
        letter = discard(bury(sent()), reason="a test of ours")
        assert (letter.state, letter.reason, letter.resolved_by) == (DeadLetterState.DISCARDED, "a test of ours", "ann")
        assert trail(letter.pk) == [(DeadLetterStep.DISCARDED, "ann", "")]

    def test_is_done_once_when_it_is_sent_twice(self) -> None:
        letter_id = bury(sent())
        assert discard(letter_id).resolved_at == discard(letter_id, now=LATER + timedelta(days=1)).resolved_at
        assert len(trail(letter_id)) == 1
        with pytest.raises(errors.DeadLetterResolved):
            discard(letter_id, reason="another reason")

    def test_many_leaves_those_that_are_not_open(self) -> None:
        ids = [bury(sent(idempotency_key=f"k{n}")) for n in range(5)]
        replay(ids[0])
        assert dead_letters.discard_many(letter_ids=ids, reason="old", actor="ann", now=LATER) == 4
        assert models.DeadLetter.objects.get(pk=ids[0]).state == DeadLetterState.REPLAYED


@pytest.mark.django_db
class TestKeepAgain:
    def test_opens_a_resolved_letter_again_and_keeps_the_trail(self) -> None:
        letter_id = bury(sent(quantity=-1), code="negative_quantity")
        discard(letter_id)
        assert bury(sent(quantity=-1), code="negative_quantity", now=LATER) == letter_id
        letter = models.DeadLetter.objects.get()
        assert (letter.state, letter.count, letter.reason, letter.resolved_at) == ("open", 2, "", None)
        assert trail(letter_id) == [
            (DeadLetterStep.DISCARDED, "ann", ""),
            (DeadLetterStep.OPENED_AGAIN, dead_letters.SENDER, "negative_quantity"),
        ]
        bury(sent(quantity=-1), code="negative_quantity", now=LATER)
        assert len(trail(letter_id)) == 2

    def test_leaves_one_outbox_message_for_each_letter_ever(self) -> None:
        letter_id = bury(sent(quantity=-1), code="negative_quantity")
        discard(letter_id)
        bury(sent(quantity=-1))
        message = OutboxMessage.objects.get(topic="dead_letter.created")
        assert (message.reference_id, message.tenant_id) == (letter_id, "acme-corp")
        assert message.payload == {"dead_letter_id": letter_id, "code": "negative_quantity", "detail": "why"}

    @pytest.mark.parametrize(
        ("payload", "source", "event_type"),
        [
            (b'{"source": "meter-7", "event_type": "NO WAY"}', "meter-7", "NO WAY"),
            (b'{"specversion": "1.0", "source": "//ce", "type": "api_call"}', "//ce", "api_call"),
            (b'{"source": 5, "event_type": null}', "", ""),
            (b'{"source": "x\\u0000y"}', "x\ufffdy", ""),
            (b'{"source": "\\ud800", "event_type": "api_call"}', "\ufffd", "api_call"),
            (b"not json", "", ""),
            (b"[" * 5_000, "", ""),
        ],
    )
    def test_reads_what_an_unreadable_event_says_of_itself(self, payload: bytes, source: str, event_type: str) -> None:
        letter = dead_letters.NewDeadLetter(tenant_id="", payload=payload, code="wrong_type", detail="why", source="")
        dead_letters.keep(letters=[letter], now=NOW)
        kept = models.DeadLetter.objects.get()
        assert (kept.source, kept.event_type) == (source, event_type)

    @pytest.mark.parametrize(
        ("timestamp", "expected"),
        [
            ("2026-11-18T05:59:59Z", datetime(2026, 11, 18, 5, tzinfo=UTC)),
            ("2026-11-18T05:30:00+05:30", datetime(2026, 11, 18, 0, tzinfo=UTC)),
            ("1970-01-01T00:00:00Z", datetime(2026, 11, 20, 12, tzinfo=UTC)),
            ("9999-12-31T23:59:59-14:00", datetime(2026, 11, 20, 12, tzinfo=UTC)),
            ("0001-01-01T00:00:00+14:00", datetime(2026, 11, 20, 12, tzinfo=UTC)),
            ("2026-11-18T05:59:59", datetime(2026, 11, 20, 12, tzinfo=UTC)),
            (17, datetime(2026, 11, 20, 12, tzinfo=UTC)),
        ],
    )
    def test_files_a_letter_under_its_events_hour_or_that_of_its_arrival(
        self, timestamp: object, expected: datetime
    ) -> None:
        bury(sent(event_timestamp=timestamp))
        assert models.DeadLetter.objects.get().event_hour == int(expected.timestamp()) // 3600


@pytest.mark.django_db
class TestReplayMany:
    def test_takes_what_passes_and_tells_the_rest_by_code(self) -> None:
        for n in range(450):
            bury(sent(idempotency_key=f"k{n}", quantity=-1 if n % 10 == 0 else 1))
        bury(b"nonsense \xff", tenant_id="", code="invalid_json")
        seen: list[tuple[int, int | None]] = []
        report = replays.replay_many(
            chosen=models.DeadLetter.objects.all(),
            actor="ann",
            now=LATER,
            limit=10_000,
            progress=lambda done, total: seen.append((done, total)),
        )
        assert (report.replayed, report.failed, report.busy, report.remaining) == (405, 46, 0, 46)
        assert report.failed_by_code == {"negative_quantity": 45, "payload_incomplete": 1}
        assert report.needs_person
        assert seen == [(200, 451), (400, 451), (451, 451)]
        assert models.Event.objects.count() == 405
        assert models.DeadLetter.objects.count() == 451

    def test_settles_two_letters_of_one_key_as_intake_would(self) -> None:
        bury(sent(quantity=1))
        bury(sent(quantity=2))
        report = replays.replay_many(chosen=models.DeadLetter.objects.all(), actor="ann", now=LATER, limit=10)
        assert (report.replayed, report.failed_by_code) == (1, {"idempotency_conflict": 1})

    def test_does_no_more_than_its_limit(self) -> None:
        for n in range(5):
            bury(sent(idempotency_key=f"k{n}"))
        report = replays.replay_many(chosen=models.DeadLetter.objects.all(), actor="ann", now=LATER, limit=2)
        assert (report.replayed, report.remaining, report.needs_person) == (2, 3, False)


@pytest.mark.usefixtures("committed_db")
class TestAtOnce:
    def test_one_of_8_corrections_is_taken(self) -> None:
        letter_id = bury(sent(quantity=-1), code="negative_quantity")
        work = [partial(replay, letter_id, event=sent(quantity=n, idempotency_key=f"own-{n}")) for n in range(1, 9)]
        outcomes = run_together(work)
        taken = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert len(taken) == 1
        assert all(isinstance(error, errors.DeadLetterBusy | errors.DeadLetterResolved) for error in lost), lost
        assert models.Event.objects.count() == 1
        assert len(trail(letter_id)) == 1

    def test_a_replay_and_a_discard_never_both_win(self) -> None:
        for round_ in range(5):
            letter_id = bury(sent(idempotency_key=f"k{round_}"))
            outcomes = run_together([partial(replay, letter_id), partial(discard, letter_id)] * 3)
            won = [one for one in outcomes if not isinstance(one, BaseException)]
            lost = [one for one in outcomes if isinstance(one, BaseException)]
            assert all(isinstance(error, errors.DeadLetterBusy | errors.DeadLetterResolved) for error in lost), lost
            assert len({one.state for one in won}) == 1
            assert len(trail(letter_id)) == 1

    def test_one_letter_that_the_database_refuses_does_not_stop_the_others(self, owner_cursor: psycopg.Cursor) -> None:
        owner_cursor.execute("ALTER TABLE metering_event ADD CONSTRAINT unlucky CHECK (quantity <> 13) NOT VALID")
        ids = [bury(sent(idempotency_key=f"k{n}", quantity=n)) for n in range(10, 16)]
        report = replays.replay_many(chosen=models.DeadLetter.objects.all(), actor="ann", now=LATER, limit=100)
        assert (report.replayed, report.failed_by_code) == (5, {"unlucky": 1})
        assert models.DeadLetter.objects.get(state="open").pk == ids[3]

    def test_replays_beside_senders_of_the_same_events_end_with_each_once(self) -> None:
        partitions.maintain_partitions(now=NOW)
        count = 60
        good = [sent(idempotency_key=f"k{n}", event_timestamp="2026-11-20T12:00:00Z") for n in range(count)]
        for payload in good:
            bury(payload)

        def resend() -> Any:
            bad = [
                schemas.Refusal(code=schemas.Code.WRONG_TYPE, detail="d", tenant_id="acme-corp", payload=p)
                for p in good
            ]
            return factories.ingest(*map(schemas.decode_event, good), *bad, now=LATER)

        def replay_all() -> Any:
            return replays.replay_many(chosen=models.DeadLetter.objects.all(), actor="ann", now=LATER, limit=1_000)

        outcomes = run_together([resend, replay_all] * 3)
        assert [one for one in outcomes if isinstance(one, BaseException)] == []
        assert models.Event.objects.count() == count
        replay_all()
        assert models.Event.objects.count() == count
        assert not models.DeadLetter.objects.filter(state="open").exists()


@pytest.mark.django_db
class TestGuards:
    """What came stays as it came, whoever asks."""

    @pytest.mark.parametrize(
        "attack",
        [
            "UPDATE metering_dead_letter SET payload = 'x'",
            "UPDATE metering_dead_letter SET tenant_id = 'x'",
            "UPDATE metering_dead_letter SET first_seen_at = now()",
            "UPDATE metering_dead_letter SET count = 0",
            "UPDATE metering_dead_letter SET state = 'replayed'",
            "UPDATE metering_dead_letter SET state = 'lost', resolved_at = now(), resolved_by = 'x'",
            "UPDATE metering_dead_letter SET state = 'discarded', resolved_at = now(), resolved_by = 'x'",
            "UPDATE metering_dead_letter SET resolved_by = 'x'",
            "DELETE FROM metering_dead_letter",
            "TRUNCATE metering_dead_letter CASCADE",
            "UPDATE metering_dead_letter_action SET actor = 'x'",
            "DELETE FROM metering_dead_letter_action",
            "TRUNCATE metering_dead_letter_action",
        ],
    )
    def test_hold_against_the_owner(self, owner_cursor: psycopg.Cursor, attack: str) -> None:
        owner_cursor.execute(
            "INSERT INTO metering_dead_letter (id, opening_id, tenant_id, payload_digest, payload, code, detail,"
            " source, event_type, event_hour, count, first_seen_at, last_seen_at, state, resolved_by, reason)"
            " VALUES ('dl_1', 'dl_1', 't', gen_random_uuid(), 'p', 'c', 'd', 's', '', 0, 2, '2026-01-01', '2026-01-01',"
            " 'open', '', '')"
        )
        owner_cursor.execute(
            "INSERT INTO metering_dead_letter_action (letter_id, step, actor, code, detail, reason, event, created_at)"
            " VALUES ('dl_1', 'replay_failed', 'a', '', '', '', '', now())"
        )
        owner_cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(psycopg.errors.CheckViolation):
            owner_cursor.execute(attack)

    def test_let_the_service_delete_nothing(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT has_table_privilege('metering_dead_letter_action', 'UPDATE, DELETE, TRUNCATE')")
            assert cursor.fetchone() == (False,)


@pytest.mark.django_db
class TestEndpoints:
    def test_replay_answers_the_letter_with_its_trail(self) -> None:
        letter_id = bury(sent(quantity=-1), code="negative_quantity")
        client = kernel.client("events:write", "usage:read")
        failed = client.post(f"/v1/dead-letters/{letter_id}/replay", {}, format="json")
        assert (failed.status_code, failed.json()["state"]) == (200, "open")
        event = json.loads(sent(quantity=1, event_timestamp=datetime.now(UTC).isoformat()))
        taken = client.post(f"/v1/dead-letters/{letter_id}/replay", {"event": event}, format="json").json()
        assert taken["state"] == "replayed"
        assert [action["step"] for action in taken["actions"]] == ["replayed", "replay_failed"]
        assert taken["actions"][0]["event"] == event
        assert taken["resolved_by"] == ApiKey.objects.get().pk
        assert taken == client.get(f"/v1/dead-letters/{letter_id}").json()
        again = client.post(f"/v1/dead-letters/{letter_id}/replay", format="json")
        assert (again.status_code, again.json()["code"]) == (409, "dead_letter_resolved")
        assert again.json()["state"] == "replayed"

    def test_replay_with_an_idempotency_key_answers_the_same_again(self) -> None:
        letter_id = bury(sent(event_timestamp=datetime.now(UTC).isoformat()))
        client = kernel.client()
        ask = partial(
            client.post, f"/v1/dead-letters/{letter_id}/replay", {}, format="json", HTTP_IDEMPOTENCY_KEY="once"
        )
        first, second = ask(), ask()
        assert first.json() == second.json()
        assert second["Idempotent-Replayed"] == "true"
        assert len(trail(letter_id)) == 1

    def test_replay_as_a_backfill_needs_its_scope(self) -> None:
        letter_id = bury(sent(event_timestamp="2020-01-01T00:00:00Z"))
        address = f"/v1/dead-letters/{letter_id}/replay"
        refused = kernel.client("events:write").post(address, {"backfill": True}, format="json")
        assert refused.status_code == 403
        taken = kernel.client("events:write", "events:backfill").post(address, {"backfill": True}, format="json")
        assert taken.json()["state"] == "replayed"

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"event": 5}, "/event"),
            ({"event": []}, "/event"),
            ({"backfill": "yes"}, "/backfill"),
            ({"events": {}}, "/events"),
        ],
    )
    def test_replay_says_what_is_wrong_with_its_body(self, body: Any, pointer: str) -> None:
        answer = kernel.client().post(f"/v1/dead-letters/{bury(sent())}/replay", body, format="json")
        assert answer.status_code == 400
        assert {error["pointer"] for error in answer.json()["errors"]} == {pointer}

    def test_replay_of_a_cut_payload_is_a_422(self) -> None:
        letter_id = bury(b"x" * 70_000)
        answer = kernel.client().post(f"/v1/dead-letters/{letter_id}/replay", {}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (422, "payload_incomplete")

    @pytest.mark.parametrize("reason", [None, "", "  ", "x" * 501, 5])
    def test_discard_needs_a_reason(self, reason: Any) -> None:
        address = f"/v1/dead-letters/{bury(sent())}/discard"
        body = {} if reason is None else {"reason": reason}
        assert kernel.client().post(address, body, format="json").status_code == 400
        assert kernel.client().post(address, {"reason": "ours"}, format="json").json()["reason"] == "ours"

    def test_a_tenants_key_resolves_its_own_letters_alone(self) -> None:
        mine, other = bury(sent()), bury(sent(tenant_id="other"), tenant_id="other")
        client = kernel.client("events:write", tenant_id="acme-corp")
        for step, body in (("replay", {}), ("discard", {"reason": "r"})):
            assert client.post(f"/v1/dead-letters/{other}/{step}", body, format="json").status_code == 404
        assert client.post(f"/v1/dead-letters/{mine}/discard", {"reason": "r"}, format="json").status_code == 200

    def test_letters_of_a_revoked_key_stay_visible_to_their_tenant(self) -> None:
        sender = kernel.client("events:write", tenant_id="acme-corp")
        answer = sender.post("/v1/events", sent(quantity=-1), content_type="application/json")
        letter_id = answer.json()["errors"][0]["dead_letter_id"]
        ApiKey.objects.update(revoked_at=NOW)
        assert _is_visible(kernel.client("usage:read", tenant_id="acme-corp"), letter_id)
        assert _is_visible(kernel.client("usage:read"), letter_id)
        assert not _is_visible(kernel.client("usage:read", tenant_id="other"), letter_id)


def _is_visible(client: APIClient, letter_id: str) -> bool:
    listed = {letter["id"] for letter in client.get("/v1/dead-letters").json()["data"]}
    status = client.get(f"/v1/dead-letters/{letter_id}").status_code
    assert (letter_id in listed) == (status == 200)
    return status == 200
