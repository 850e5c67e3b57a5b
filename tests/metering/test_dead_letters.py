"""What was not taken is kept, once for each payload."""

from datetime import timedelta

import pytest

from metering import dead_letters, models
from tests.factories import metering as factories
from tests.factories.kernel import client

pytestmark = pytest.mark.django_db
NOW = factories.NOW


def letter(payload: bytes = b"{}", tenant_id: str = "acme", code: str = "wrong_type") -> dead_letters.NewDeadLetter:
    return dead_letters.NewDeadLetter(tenant_id=tenant_id, payload=payload, code=code, detail="why", source="api")


class TestKeep:
    def test_answers_ids_in_order(self) -> None:
        ids = dead_letters.keep(letters=[letter(b"b"), letter(b"a"), letter(b"b")], now=NOW)
        assert ids[0] == ids[2] != ids[1]
        payloads = dict(models.DeadLetter.objects.values_list("pk", "payload"))
        assert [payloads[one] for one in ids] == ["b", "a", "b"]

    def test_counts_a_client_in_a_loop_in_one_row(self) -> None:
        first = dead_letters.keep(letters=[letter(), letter()], now=NOW)
        again = dead_letters.keep(letters=[letter(code="unknown_field")], now=NOW + timedelta(hours=1))
        assert set(first) == set(again)
        row = models.DeadLetter.objects.get()
        assert (row.count, row.code) == (3, "unknown_field")
        assert (row.first_seen_at, row.last_seen_at) == (NOW, NOW + timedelta(hours=1))

    def test_keeps_last_seen_when_time_is_passed_backwards(self) -> None:
        dead_letters.keep(letters=[letter()], now=NOW)
        dead_letters.keep(letters=[letter()], now=NOW - timedelta(days=1))
        assert models.DeadLetter.objects.get().last_seen_at == NOW

    def test_keeps_tenants_apart(self) -> None:
        dead_letters.keep(letters=[letter(tenant_id="a"), letter(tenant_id="b")], now=NOW)
        assert models.DeadLetter.objects.count() == 2

    @pytest.mark.parametrize("payload", [b"\x00", b"\xff\xfe", "\ud800".encode("utf-8", "surrogatepass")])
    def test_keeps_what_is_no_text(self, payload: bytes) -> None:
        dead_letters.keep(letters=[letter(payload)], now=NOW)
        assert models.DeadLetter.objects.get().payload

    def test_cuts_a_payload_without_end_but_tells_two_apart(self) -> None:
        long = b"x" * 100_000
        dead_letters.keep(letters=[letter(long + b"1"), letter(long + b"2")], now=NOW)
        assert {len(row.payload) for row in models.DeadLetter.objects.all()} == {dead_letters.MAX_PAYLOAD_CHARACTERS}
        assert models.DeadLetter.objects.count() == 2


class TestCountOpen:
    def test_counts_by_reason_what_is_open(self) -> None:
        dead_letters.keep(letters=[letter(b"1"), letter(b"2"), letter(b"3", code="quota_exceeded")], now=NOW)
        done = dead_letters.keep(letters=[letter(b"4")], now=NOW)[0]
        dead_letters.discard(letter_id=done, reason="why not", actor="ann", now=NOW)
        assert dead_letters.count_open() == {"wrong_type": 2, "quota_exceeded": 1}

    def test_is_shown_to_prometheus(self) -> None:
        dead_letters.keep(letters=[letter(b"1")], now=NOW)
        text = client().get("/metrics").content.decode()
        assert 'billing_open_dead_letters{code="wrong_type"} 1.0' in text


class TestShown:
    @pytest.mark.parametrize(
        "payload",
        [rb'{"tenant_id": "acme", "idempotency_key": "\ud800"}', rb'{"quantity": 1e400}', rb'{"quantity": NaN}'],
    )
    def test_shows_as_text_what_no_answer_could_hold_as_json(self, payload: bytes) -> None:
        letter_id = dead_letters.keep(letters=[letter(payload), letter(b'{"quantity": -1}')], now=NOW)[0]
        reader = client("usage:read")
        assert reader.get(f"/v1/dead-letters/{letter_id}").json()["payload"] == payload.decode()
        shown = reader.get("/v1/dead-letters").json()["data"]
        assert {row["id"] == letter_id: row["payload"] for row in shown} == {
            True: payload.decode(),
            False: {"quantity": -1},
        }
