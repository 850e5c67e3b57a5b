"""Webhooks: signed anew for each try, delivered by threads of their own, repeated until an endpoint answers 2xx."""

import hashlib
import heapq
import hmac
import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

SENDERS = 4
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 30.0
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, order=True)
class Waiting:
    """One event on its way; the one due first comes first."""

    due: float
    event_id: str
    tries: int = 0


class Delivery:
    """Sends events to one endpoint."""

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self.copies = 1
        self._secret = secret
        self._paused = False
        self._waiting: list[Waiting] = []
        self._sending = 0
        self._wake = threading.Condition()

    def start(self, find: Callable[[str], Mapping[str, object] | None], delivered: Callable[[str], None]) -> None:
        """Start the senders; ``find`` gives an event's body, ``delivered`` is told of success."""
        if not self.url:
            return
        for number in range(SENDERS):
            threading.Thread(
                target=self._send_for_ever, args=(find, delivered), daemon=True, name=f"send-{number}"
            ).start()

    def announce(self, event_id: str) -> None:
        """Queue an event, as often as ``copies`` says."""
        if not self.url:
            return
        with self._wake:
            for _ in range(self.copies):
                heapq.heappush(self._waiting, Waiting(time.monotonic(), event_id))
            self._wake.notify_all()

    def pause(self, *, paused: bool) -> None:
        """Hold deliveries back, or let them go."""
        with self._wake:
            self._paused = paused
            self._wake.notify_all()

    def pending(self) -> int:
        """Count what is queued or being sent."""
        with self._wake:
            return len(self._waiting) + self._sending

    def clear(self) -> None:
        """Forget what is queued."""
        with self._wake:
            self._waiting.clear()

    def send(self, event: Mapping[str, object]) -> int:
        """Send one event now and return the endpoint's status, 0 when it did not answer."""
        body = json.dumps(event, indent=2).encode()
        stamp = int(time.time())
        signature = hmac.new(self._secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": f"t={stamp},v1={signature}",
        }
        target = urlsplit(self.url)
        connection = http.client.HTTPConnection(target.hostname or "", target.port or 80, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("POST", target.path or "/", body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return 0
        else:
            return answer.status
        finally:
            connection.close()

    def _send_for_ever(
        self, find: Callable[[str], Mapping[str, object] | None], delivered: Callable[[str], None]
    ) -> None:
        while True:
            waiting = self._next()
            event = find(waiting.event_id)
            status = self.send(event) if event is not None else HTTPStatus.OK
            if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
                delivered(waiting.event_id)
                again = None
            else:
                wait = min(FIRST_WAIT_SECONDS * 2**waiting.tries, LONGEST_WAIT_SECONDS)
                again = Waiting(time.monotonic() + wait, waiting.event_id, waiting.tries + 1)
            with self._wake:
                self._sending -= 1
                if again is not None:
                    heapq.heappush(self._waiting, again)
                self._wake.notify_all()

    def _next(self) -> Waiting:
        """Wait for the event that is due first."""
        with self._wake:
            while True:
                now = time.monotonic()
                first = self._waiting[0] if self._waiting and not self._paused else None
                if first is not None and first.due <= now:
                    self._sending += 1
                    return heapq.heappop(self._waiting)
                self._wake.wait(None if first is None else first.due - now)
