"""
Faults on request: what a test wants to go wrong with the next calls.

``delay`` answers late. ``refuse`` answers ``status`` without doing anything, and keeps nothing. ``fail_after`` does the
work, then answers ``status``, which stays the answer under the idempotency key, as at Stripe. ``cut_before`` and
``cut_after`` close the connection without an answer; ``hang_after`` does the work and keeps silent for ``seconds``.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

KINDS = frozenset({"delay", "refuse", "fail_after", "cut_before", "cut_after", "hang_after"})


@dataclass(frozen=True)
class Fault:
    """One fault, for ``times`` calls whose method and path it matches."""

    kind: str
    method: str = "POST"
    path: str = "/v1/payment_intents"
    times: int = 1
    seconds: float = 0.0
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    html: bool = False

    def body(self) -> tuple[str, bytes]:
        """Return the content type and body of the answer that a fault gives."""
        if self.html:
            return "text/html", b"<html><body><h1>Service Unavailable</h1></body></html>"
        return "application/json", b'{"error": {"message": "Something went wrong.", "type": "api_error"}}'


class Faults:
    """The faults still to come, in order."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, wanted: Mapping[str, Any]) -> None:
        """Add one fault, told as JSON; raises on what it does not know."""
        fault = Fault(**wanted)
        if fault.kind not in KINDS:
            raise ValueError(fault.kind)
        with self._lock:
            self._waiting.append(fault)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the first fault for this call and use up one of its times."""
        with self._lock:
            for index, fault in enumerate(self._waiting):
                if fault.method == method and fault.path == path:
                    left = replace(fault, times=fault.times - 1)
                    self._waiting[index : index + 1] = [left] if left.times > 0 else []
                    return fault
        return None

    def clear(self) -> None:
        """Let everything go right again."""
        with self._lock:
            self._waiting.clear()
