"""
Idempotency keys as Stripe documents them.

The first answer under a key, a 500 included, is given again to the same request; another request under the key is
refused, and so is one that comes while the first is still at work. Nothing is kept of a request that never began
because its parameters were wrong.
"""

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

from tests.stand_ins.stripe.account import Account
from tests.stand_ins.stripe.problems import StripeProblem

KEPT_SECONDS = 24 * 3600
LONGEST_KEY = 255


@dataclass(frozen=True)
class Answer:
    """What a request was answered."""

    status: int
    body: Mapping[str, object]
    request_id: str


class Keys:
    """The keys in use and those answered."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._running: set[str] = set()
        self._lock = threading.Lock()

    def begin(self, key: str, fingerprint: str) -> Answer | None:
        """Take the key for a request, or return the answer it already has."""
        if len(key) > LONGEST_KEY:
            raise StripeProblem(HTTPStatus.BAD_REQUEST, "Idempotency keys may be at most 255 characters.")
        with self._lock:
            if key in self._running:
                message = (
                    "There is currently another in-progress request using this Idempotent Key (that probably means "
                    f"you submitted twice, and the other request is still going through): {key}. Try again later."
                )
                raise StripeProblem(HTTPStatus.CONFLICT, message, code="idempotency_key_in_use")
            kept = self._account.answers.get(key)
            if kept is None or kept["at"] < time.time() - KEPT_SECONDS:
                self._running.add(key)
                return None
        if kept["fingerprint"] != fingerprint:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request."
            )
            raise StripeProblem(HTTPStatus.BAD_REQUEST, message, kind="idempotency_error")
        return Answer(kept["status"], cast("Mapping[str, object]", kept["body"]), kept["request_id"])

    def answered(self, key: str, fingerprint: str, answer: Answer) -> None:
        """Keep the answer for whoever asks again."""
        kept = {"at": time.time(), "fingerprint": fingerprint, "status": answer.status, "request_id": answer.request_id}
        with self._account.lock:
            self._account.remember(key, {**kept, "body": answer.body})

    def end(self, key: str) -> None:
        """Let the key go."""
        with self._lock:
            self._running.discard(key)


def fingerprint(method: str, path: str, parameters: Mapping[str, object]) -> str:
    """Tell one request from another by a digest."""
    text = json.dumps([method, path, parameters], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
