"""
What only tests and people ask for, under ``/_control`` and with the same key as everything else.

``GET /_control`` tells counts, the requests so far, and what is waiting. ``POST`` takes JSON:
``/_control/faults`` a fault (``faults.Fault``), ``/_control/faults/clear``, ``/_control/webhooks``
``{"paused": bool, "copies": int, "url": str}``, ``/_control/webhooks/send`` ``{"event": id}`` (at once; answers the
endpoint's status), ``/_control/authenticate`` ``{"payment_intent": id, "succeeded": bool}``,
``/_control/customers/delete`` ``{"customer": id}``, ``/_control/reset``.
"""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tests.stand_ins.stripe import customers, ids, payment_intents
from tests.stand_ins.stripe.account import Account, Cause
from tests.stand_ins.stripe.call import Call
from tests.stand_ins.stripe.delivery import Delivery
from tests.stand_ins.stripe.faults import Faults
from tests.stand_ins.stripe.problems import StripeProblem

REQUESTS_KEPT = 10_000


@dataclass(frozen=True)
class Logged:
    """One request that was answered, or was denied an answer (status 0)."""

    method: str
    path: str
    status: int
    idempotency_key: str | None
    request_id: str
    stripe_version: str | None
    form: str


class Control:
    """The hidden hand."""

    def __init__(self, account: Account, delivery: Delivery, faults: Faults) -> None:
        self._account = account
        self._delivery = delivery
        self._faults = faults
        self.requests: deque[Logged] = deque(maxlen=REQUESTS_KEPT)

    def answer(self, method: str, path: str, body: Mapping[str, Any]) -> Mapping[str, object]:
        """Do what is asked and tell the state afterwards."""
        if method == "GET" and path == "/_control":
            return self._state()
        with self._account.lock:
            return self._do(path, body)

    def _do(self, path: str, body: Mapping[str, Any]) -> Mapping[str, object]:
        if path == "/_control/faults":
            self._faults.add(body)
        elif path == "/_control/faults/clear":
            self._faults.clear()
        elif path == "/_control/webhooks":
            self._set_webhooks(body)
        elif path == "/_control/webhooks/send":
            event = self._account.get("events", body["event"], "event")
            return {"status": self._delivery.send(event)}
        elif path == "/_control/authenticate":
            payment_intents.authenticated(self._call(body["payment_intent"]), succeeded=body["succeeded"])
        elif path == "/_control/customers/delete":
            customers.delete(self._call(body["customer"]))
        elif path == "/_control/reset":
            self._reset()
        else:
            raise StripeProblem(404, f"Nothing to control at {path}.")
        return {}

    def _set_webhooks(self, body: Mapping[str, Any]) -> None:
        if "url" in body:
            self._delivery.url = body["url"]
        if "copies" in body:
            self._delivery.copies = body["copies"]
        if "paused" in body:
            self._delivery.pause(paused=body["paused"])

    def _reset(self) -> None:
        self._account.reset()
        self._faults.clear()
        self._delivery.clear()
        self._delivery.copies = 1
        self._delivery.pause(paused=False)
        self.requests.clear()

    def _call(self, object_id: str) -> Call:
        cause = Cause(ids.new_id("req", 14), None)
        return Call(self._account, cause, int(time.time()), {}, object_id)

    def _state(self) -> Mapping[str, object]:
        return {
            "counts": self._account.counts(),
            "requests": [asdict(request) for request in list(self.requests)],
            "webhooks_waiting": self._delivery.pending(),
            "webhook_url": self._delivery.url,
        }
