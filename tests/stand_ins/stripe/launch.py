"""Starting the stand-in from a test, and asking it what it saw."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[3]
API_KEY = "sk_test_stand_in"
WEBHOOK_SECRET = "whsec_stand_in"


@dataclass
class StandIn:
    """A running stand-in."""

    process: subprocess.Popen[str]
    url: str
    api_key: str
    webhook_secret: str

    def state(self) -> Mapping[str, Any]:
        """Return counts, requests and waiting webhooks."""
        return self._ask("GET", "/_control")

    def requests(self, method: str, path: str) -> list[Mapping[str, Any]]:
        """List the requests it got for one method and path, oldest first."""
        return [one for one in self.state()["requests"] if one["method"] == method and one["path"] == path]

    def get(self, path: str) -> Mapping[str, Any]:
        """Read one of its objects or lists over its API."""
        return self._ask("GET", path)

    def fault(self, kind: str, **members: object) -> None:
        """Make something go wrong with a coming call."""
        self._ask("POST", "/_control/faults", {"kind": kind, **members})

    def control(self, path: str, **members: object) -> Mapping[str, Any]:
        """Ask for anything else under ``/_control/``."""
        return self._ask("POST", f"/_control/{path}", members)

    def charged(self) -> list[Mapping[str, Any]]:
        """List the charges that really took money."""
        intents = self.get("/v1/payment_intents?limit=100")["data"]
        return [intent for intent in intents if intent["status"] == "succeeded"]

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        answer = requests.request(method, self.url + path, json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        found: Mapping[str, Any] = answer.json()
        return found


def start(*, webhook_url: str = "", state: Path | None = None, port: int = 0) -> StandIn:
    """Start the process and wait until it listens."""
    command = [sys.executable, "-m", "tests.stand_ins.stripe", "--port", str(port)]
    command += ["--api-key", API_KEY, "--webhook-secret", WEBHOOK_SECRET, "--webhook-url", webhook_url]
    command += ["--stop-with-parent"]
    if state is not None:
        command += ["--state", str(state)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline() if process.stdout is not None else ""
    if "http" not in line:
        raise RuntimeError(f"the stand-in did not start: {line!r}")
    return StandIn(process, line.rsplit(" ", 1)[-1].strip(), API_KEY, WEBHOOK_SECRET)
