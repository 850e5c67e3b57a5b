"""One Stripe account: its objects, their lists and the events they leave."""

import copy
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tests.stand_ins.stripe import ids, problems
from tests.stand_ins.stripe.journal import Journal

API_VERSION = "2026-10-28.endive"
DEFAULT_PAGE = 10

Object = dict[str, Any]


@dataclass(frozen=True)
class Cause:
    """The request that an event comes from."""

    request_id: str
    idempotency_key: str | None


class Account:
    """
    Everything one account holds.

    Every call runs whole under ``lock``: Stripe's own objects are updated one request at a time, too.
    """

    def __init__(self, journal: Journal, announce: Callable[[str], None]) -> None:
        self.lock = threading.RLock()
        self.answers: dict[str, Object] = {}
        self._objects: dict[str, dict[str, Object]] = {}
        self._by_customer: dict[tuple[str, str], list[str]] = {}
        self._undelivered: set[str] = set()
        self._journal = journal
        self._announce = announce
        self._load()

    def put(self, kind: str, item: Object) -> Object:
        """Keep ``item`` as it is now; returns it."""
        self._keep(kind, item)
        self._journal.write(put=kind, item=item)
        return item

    def get(self, kind: str, item_id: str, noun: str, *, param: str = "id") -> Object:
        """Return the object, or answer ``resource_missing``."""
        item = self._objects.get(kind, {}).get(item_id)
        if item is None:
            raise problems.no_such(noun, item_id, param=param)
        return item

    def find(self, kind: str, item_id: str) -> Object | None:
        """Return the object, if there is one."""
        return self._objects.get(kind, {}).get(item_id)

    def page(
        self, kind: str, url: str, query: Mapping[str, object], keep: Callable[[Object], bool], *, customer: str = ""
    ) -> Object:
        """Return one page of a list, newest first, as ``starting_after``, ``ending_before`` and ``limit`` ask."""
        limit = cast("int", query.get("limit", DEFAULT_PAGE))
        kept = self._objects.get(kind, {})
        names = self._by_customer.get((kind, customer), []) if customer else list(kept)
        items = [kept[name] for name in reversed(names) if keep(kept[name])]
        after, before = query.get("starting_after"), query.get("ending_before")
        if after is not None:
            items = items[self._place(items, str(after), "starting_after") + 1 :]
        if before is not None:
            items = items[: self._place(items, str(before), "ending_before")]
            page, more = items[-limit:], len(items) > limit
        else:
            page, more = items[:limit], len(items) > limit
        return {"object": "list", "url": url, "has_more": more, "data": page}

    def emit(self, event_type: str, item: Object, cause: Cause) -> None:
        """Leave an event with the object as it is now, to be delivered after the answer."""
        event: Object = {
            "id": ids.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": int(time.time()),
            "data": {"object": copy.deepcopy(item)},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": cause.request_id, "idempotency_key": cause.idempotency_key},
            "type": event_type,
        }
        self.put("events", event)
        self._undelivered.add(event["id"])
        self._announce(event["id"])

    def remember(self, key: str, answer: Object) -> None:
        """Keep the answer given under an idempotency key."""
        self.answers[key] = answer
        self._journal.write(answer=key, item=answer)

    def mark_delivered(self, event_id: str) -> None:
        """Note that an endpoint took the event."""
        with self.lock:
            event = self.find("events", event_id)
            if event is not None and event["pending_webhooks"]:
                self._undelivered.discard(event_id)
                self.put("events", {**event, "pending_webhooks": 0})

    def undelivered(self) -> list[str]:
        """List the events that no endpoint has taken yet, oldest first."""
        with self.lock:
            return [name for name in self._objects.get("events", {}) if name in self._undelivered]

    def counts(self) -> dict[str, int]:
        """Count the objects of each kind."""
        with self.lock:
            return {kind: len(items) for kind, items in self._objects.items()}

    def reset(self) -> None:
        """Forget everything."""
        with self.lock:
            for kept in (self._objects, self._by_customer, self._undelivered, self.answers):
                kept.clear()
            self._journal.clear()

    def _keep(self, kind: str, item: Object) -> None:
        name = item["id"]
        known = self._objects.setdefault(kind, {})
        customer = item.get("customer")
        if customer and (known.get(name) or {}).get("customer") != customer:
            self._by_customer.setdefault((kind, customer), []).append(name)
        known[name] = item

    def _load(self) -> None:
        for line in self._journal.read():
            item = cast("Object", line["item"])
            if "answer" in line:
                self.answers[str(line["answer"])] = item
                continue
            kind = str(line["put"])
            self._keep(kind, item)
            if kind == "events":
                (self._undelivered.add if item["pending_webhooks"] else self._undelivered.discard)(item["id"])

    @staticmethod
    def _place(items: list[Object], name: str, param: str) -> int:
        for index, item in enumerate(items):
            if item["id"] == name:
                return index
        raise problems.no_such("object", name, param=param)
