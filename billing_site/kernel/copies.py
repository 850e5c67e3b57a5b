"""
Copies in the process of what the database says, so that a slow control path does not hold up the data path.

A copy younger than ``fresh_seconds`` is true enough. In the second half of that time the first who asks has it
refreshed in the background. Whoever finds an older one waits for the refresh, but only ``patience_seconds``; then it
serves the old one and counts that, until the copy is ``stale_seconds`` old: from there on nothing is served without the
database.
"""

import logging
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Generic, TypeVar

import prometheus_client
from django.db import connection, transaction

K = TypeVar("K")
V = TypeVar("V")

FRESH_SECONDS: Final = 30.0
STALE_SECONDS: Final = 600.0
PATIENCE_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 1.0
_REFRESH_TIMEOUT: Final = "5s"
_CAPACITY: Final = 10_000
_all: Final["weakref.WeakSet[Copies[Any, Any]]"] = weakref.WeakSet()

_log = logging.getLogger(__name__)

stale_served = prometheus_client.Counter(
    "billing_stale_served_total",
    "Answers from a copy older than it should be, because the refresh was slow or failed.",
    ["cache"],
)


class Copies(Generic[K, V]):
    """
    What ``load`` answers for keys, kept for a while. A key that ``load`` does not answer is not kept: it is asked anew.

    Safe to use from many threads. The refresh runs in a thread of its own with a connection of its own and a limit on
    the time of its statements; all keys that are due then go into one call of ``load``.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[Collection[K]], Mapping[K, V]],
        *,
        fresh_seconds: float = FRESH_SECONDS,
        stale_seconds: float = STALE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _all.add(self)
        self.name = name
        self._load = load
        self._fresh_seconds = fresh_seconds
        self._stale_seconds = stale_seconds
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._kept: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._due: set[K] = set()
        self._is_refreshing = False
        self._refresh_began = 0.0
        self._failed_at: float | None = None

    def get(self, key: K, *, is_current: Callable[[V], bool] = lambda _: True) -> V | None:
        """
        The copy, or what the database says where there is none. None: there is no such thing.

        A copy that is not ``is_current`` counts as one that is not fresh. Raises what ``load`` raises, when there is no
        copy that may still be served.
        """
        with self._changed:
            kept = self._kept.get(key)
            age = self._clock() - kept[1] if kept else 0.0
            if kept and age <= self._fresh_seconds and is_current(kept[0]):
                if age > self._fresh_seconds / 2:
                    self._ask_for_refresh(key)
                return kept[0]
            if kept and age <= self._stale_seconds:
                return self._refreshed_or_stale(key, kept)
        return self._loaded(key)

    def forget(self) -> None:
        """Drop every copy."""
        with self._changed:
            self._kept.clear()
            self._due.clear()
            self._failed_at = None

    def _loaded(self, key: K) -> V | None:
        asked_at = self._clock()
        found = self._load([key])
        with self._changed:
            self._keep([key], found, asked_at)
        return found.get(key)

    def _refreshed_or_stale(self, key: K, before: tuple[V, float]) -> V | None:
        """Wait for the refresh while it is worth waiting; the caller holds the lock."""
        self._ask_for_refresh(key)
        until = self._refresh_began + self._patience_seconds
        while self._is_refreshing and self._kept.get(key) is before and self._clock() < until:
            self._changed.wait(max(0.001, until - self._clock()))
        kept = self._kept.get(key)
        if kept is before:
            stale_served.labels(self.name).inc()
        return None if kept is None else kept[0]  # None: the refresh found that it is gone

    def _ask_for_refresh(self, key: K) -> None:
        self._due.add(key)
        now = self._clock()
        failed_lately = self._failed_at is not None and now - self._failed_at < _RETRY_SECONDS
        if self._is_refreshing or failed_lately:
            return
        self._is_refreshing = True
        self._refresh_began = now
        threading.Thread(target=self._refresh, name=f"refresh of {self.name}", daemon=True).start()

    def _refresh(self) -> None:
        try:
            while due := self._take_due():
                asked_at = self._clock()
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('statement_timeout', %s, true)", [_REFRESH_TIMEOUT])
                    found = self._load(due)
                with self._changed:
                    self._failed_at = None
                    self._keep(due, found, asked_at)
                    self._changed.notify_all()
        except Exception:  # noqa: BLE001  (whatever it is, the old copies are served, and it is tried again)
            _log.exception("the copies of %s could not be refreshed", self.name)
            with self._changed:
                self._failed_at = self._clock()
                self._due.clear()
                self._is_refreshing = False
                self._changed.notify_all()
        finally:
            connection.close()

    def _take_due(self) -> list[K]:
        """The keys to refresh; when there are none, the refresh is over, so that none is left behind."""
        with self._changed:
            due, self._due = list(self._due), set()
            if not due:
                self._is_refreshing = False
                self._changed.notify_all()
            return due

    def _keep(self, keys: Collection[K], found: Mapping[K, V], asked_at: float) -> None:
        """Take what was true at ``asked_at``; the caller holds the lock."""
        for key in keys:
            kept = self._kept.get(key)
            if kept and kept[1] > asked_at:
                continue
            if key in found:
                self._kept[key] = (found[key], asked_at)
                self._kept.move_to_end(key)
            else:
                self._kept.pop(key, None)
        while len(self._kept) > _CAPACITY:
            self._kept.popitem(last=False)


def forget_all() -> None:
    """Drop the copies of this process, so that what changed just now is seen at once."""
    for copies in list(_all):
        copies.forget()
