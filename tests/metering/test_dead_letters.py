"""What was not taken is kept, once for each payload."""

from datetime import timedelta

import pytest

from metering import dead_letters, models
from tests.factories import metering as factories

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
