"""Copies of what the database says: young ones are served at once, old ones when there is no better, none for ever."""

import threading
import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from django.db import OperationalError, connection

from billing_site.kernel import copies, errors, keys, models
from tests.factories import kernel as factories
from tests.support import waiting

NOW = datetime(2026, 11, 1, tzinfo=UTC)


class Source:
    """A control path that can be slow or broken, and a clock that can be moved on."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {"a": 1}
        self.asked: list[list[str]] = []
        self.is_open = threading.Event()
        self.is_open.set()
        self.is_broken = False
        self.ahead = 0.0

    def load(self, names: Collection[str]) -> dict[str, int]:
        self.asked.append(sorted(names))
        assert self.is_open.wait(20)
        if self.is_broken:
            raise OperationalError("away")
        return {name: self.values[name] for name in names if name in self.values}

    def clock(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def kept(source: Source, committed_db: str) -> copies.Copies[str, int]:
    return copies.Copies("tests", source.load, clock=source.clock, patience_seconds=5)


@pytest.fixture(autouse=True)
def refreshes_end(committed_db: str, source: Source) -> Iterator[None]:
    yield
    source.is_open.set()
    for thread in threading.enumerate():
        if thread.name.startswith("refresh of "):
            thread.join(20)


def stale_served(name: str = "tests") -> float:
    return float(copies.stale_served.labels(name)._value.get())


class TestCopies:
    def test_ask_once_while_the_copy_is_young(self, source: Source, kept: copies.Copies[str, int]) -> None:
        assert kept.get("a") == 1
        source.values["a"] = 2
        source.ahead = 14
        assert kept.get("a") == 1
        assert len(source.asked) == 1

    def test_ask_again_each_time_for_what_is_not_there(self, source: Source, kept: copies.Copies[str, int]) -> None:
        assert kept.get("b") is None
        source.values["b"] = 5
        assert kept.get("b") == 5

    def test_are_refreshed_in_the_background_before_they_are_old(
        self, source: Source, kept: copies.Copies[str, int]
    ) -> None:
        kept.get("a")
        source.values["a"] = 2
        source.ahead = 20
        source.is_open.clear()
        assert kept.get("a") == 1  # though the control path hangs
        source.is_open.set()
        waiting.until(lambda: kept.get("a") == 2, seconds=10, what="the refresh")
        # On a slow machine the first refresh may end when it is due again.
        assert source.asked in ([["a"], ["a"]], [["a"], ["a"], ["a"]])

    def test_are_not_older_than_they_may_be_while_the_control_path_answers(
        self, source: Source, kept: copies.Copies[str, int]
    ) -> None:
        kept.get("a")
        source.values["a"] = 2
        source.ahead = 31
        assert kept.get("a") == 2

    def test_forget_what_is_gone(self, source: Source, kept: copies.Copies[str, int]) -> None:
        kept.get("a")
        source.values.clear()
        source.ahead = 31
        assert kept.get("a") is None

    def test_serve_the_old_one_while_the_control_path_is_slow_and_count_it(
        self, source: Source, committed_db: str
    ) -> None:
        kept = copies.Copies("tests", source.load, clock=source.clock, patience_seconds=0.05)
        kept.get("a")
        source.ahead = 590
        source.is_open.clear()
        before = stale_served()
        began = time.monotonic()
        assert [kept.get("a") for _ in range(50)] == [1] * 50
        assert time.monotonic() - began < 2  # the first waits a moment; no other does
        assert stale_served() == before + 50
        assert len(source.asked) <= 2
        source.is_open.set()

    def test_serve_the_old_one_while_the_control_path_fails(
        self, source: Source, kept: copies.Copies[str, int]
    ) -> None:
        kept.get("a")
        source.is_broken = True
        source.ahead = 31
        assert kept.get("a") == 1
        source.is_broken = False
        source.ahead = 40
        source.values["a"] = 2
        assert kept.get("a") == 2

    def test_serve_nothing_that_is_too_old(self, source: Source, kept: copies.Copies[str, int]) -> None:
        kept.get("a")
        source.is_broken = True
        source.ahead = 601
        with pytest.raises(OperationalError):
            kept.get("a")

    def test_that_are_no_longer_current_count_as_old(self, source: Source, kept: copies.Copies[str, int]) -> None:
        kept.get("a")
        source.values["a"] = 2
        assert kept.get("a", is_current=lambda value: value == 1) == 1
        assert kept.get("a", is_current=lambda value: value == 2) == 2

    def test_are_refreshed_together(self, source: Source, kept: copies.Copies[str, int]) -> None:
        source.values = {str(n): n for n in range(20)}
        for name in source.values:
            kept.get(name)
        source.asked.clear()
        source.ahead = 20
        source.is_open.clear()
        for name in source.values:
            kept.get(name)
        source.is_open.set()
        waiting.until(lambda: sum(map(len, source.asked)) == 20, seconds=10, what="the refresh")
        assert len(source.asked) <= 2


class TestKeys:
    def test_that_are_revoked_are_refused_after_30_seconds(
        self, committed_db: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, secret = keys.create_api_key(name="k", scopes=["admin"], now=NOW)
        header = f"Bearer {secret}"
        keys.authenticate(header, from_copy=True)
        models.ApiKey.objects.update(revoked_at=NOW)
        keys.authenticate(header, from_copy=True)
        with pytest.raises(errors.Unauthenticated):
            keys.authenticate(header)  # doors off the data path ask each time
        monkeypatch.setattr(keys._copies, "_clock", lambda: time.monotonic() + 30.5)
        with pytest.raises(errors.Unauthenticated):
            keys.authenticate(header, from_copy=True)

    def test_are_found_by_their_whole_secret(self, committed_db: str) -> None:
        _, secret = keys.create_api_key(name="k", scopes=["admin"], now=NOW)
        keys.authenticate(f"Bearer {secret}", from_copy=True)
        for wrong in (secret[:-1], secret + "x", secret[:16] + "x" * 43, "bk_", "bk_\x00", "bk_" + "é" * 20):
            with pytest.raises(errors.Unauthenticated):
                keys.authenticate(f"Bearer {wrong}", from_copy=True)

    def test_let_events_in_while_nobody_can_read_them(
        self, committed_db: str, superuser_cursor: psycopg.Cursor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The control path hangs on a lock; the data path goes on."""
        by = factories.client("events:write")
        event = {"tenant_id": "acme", "event_type": "api_call"}

        def post(name: str) -> int:
            return int(by.post("/v1/events", {**event, "idempotency_key": name}, format="json").status_code)

        assert post("k1") == 200
        monkeypatch.setattr(keys._copies, "_clock", lambda: time.monotonic() + 300)
        superuser_cursor.execute("BEGIN")
        superuser_cursor.execute("LOCK TABLE kernel_api_key, metering_usage_threshold IN ACCESS EXCLUSIVE MODE")
        before = stale_served("api_keys")
        began = time.monotonic()
        assert [post(f"k{n}") for n in range(2, 12)] == [200] * 10
        assert time.monotonic() - began < 10
        assert stale_served("api_keys") > before
        superuser_cursor.execute("ROLLBACK")
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM metering_event")
            assert cursor.fetchone() == (11,)
