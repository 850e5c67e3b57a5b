"""
The demo's two ways into the service: HTTP calls and ``manage.py`` commands, each repeated until it worked.

A call is repeated with the same ``Idempotency-Key``, so that an answer lost on the way costs nothing.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import httpx

from billing_site.supervisor import state

PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.5
COMMAND_SECONDS = 300.0

PASSING_ERRORS = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)

Json = dict[str, object]


class Refused(Exception):
    """The service said no, and would again."""

    def __init__(self, text: str, *, code: str) -> None:
        super().__init__(text)
        self.code = code


class GaveUp(Exception):
    """It did not work for as long as our patience lasted."""


class Client:
    """The API, as one key sees it."""

    def __init__(self, *, base_url: str, api_key: str) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=30.0, trust_env=False)

    def get(self, path: str, **parameters: str) -> Json:
        """
        What the service answers.

        Raises:
            Refused: with anything but 200, other than for a moment.
            GaveUp: the service did not answer.
        """
        return self._until_answered("GET", path, params=parameters)

    def list(self, path: str, **parameters: str) -> Sequence[Json]:
        """All pages of a list."""
        rows: list[Json] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit="100", **parameters, **cursor)
            rows += page["data"]  # type: ignore[arg-type]  # the contract says a list of objects
            if not page["has_more"]:
                return rows
            cursor = {"cursor": str(page["next_cursor"])}

    def post(self, path: str, body: Mapping[str, object], *, key: str = "") -> Json:
        """
        What the service answers to a POST, sent until there is an answer.

        Idempotency: by ``key``, or, without one, by what the body names.

        Raises:
            Refused, GaveUp: as ``get``.
        """
        headers = {"Idempotency-Key": key} if key else {}
        return self._until_answered("POST", path, json=body, headers=headers)

    def _until_answered(self, method: str, path: str, **request: object) -> Json:
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                response = self._http.request(method, path, **request)  # type: ignore[arg-type]  # as httpx takes them
                problem = _problem(response)
            except PASSING_ERRORS as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    return dict(response.json())
                if not _is_passing(response):
                    raise Refused(f"{method} {path}: {problem}", code=str(_json(response).get("code", "")))
            if time.monotonic() > give_up_at:
                raise GaveUp(f"{method} {path}: {problem}")
            time.sleep(PAUSE_SECONDS)


def wait_until_ready(base_url: str) -> None:
    """
    Wait for ``/readyz``.

    Raises:
        GaveUp: it never said so.
    """
    Client(base_url=base_url, api_key="").get("/readyz")


def command(*arguments: str, password: str = "") -> Json:
    """
    The JSON line that a ``manage.py`` command prints, run until it succeeds; ``password`` is its input.

    Raises:
        GaveUp: it went on failing; the end of what it said is in the message.
    """
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    program = [sys.executable, str(state.ROOT / "manage.py"), *arguments, "--json"]
    while True:
        done = subprocess.run(
            program,
            check=False,
            capture_output=True,
            text=True,
            input=f"{password}\n",
            timeout=COMMAND_SECONDS,
        )
        if done.returncode == 0:
            return dict(json.loads(done.stdout.splitlines()[-1]))
        if time.monotonic() > give_up_at:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
            raise GaveUp(f"manage.py {' '.join(arguments)} fails:\n{said}")
        time.sleep(PAUSE_SECONDS)


def _is_passing(response: httpx.Response) -> bool:
    in_use = response.status_code == httpx.codes.CONFLICT and _json(response).get("code") == "idempotency_key_in_use"
    return in_use or response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS


def _problem(response: httpx.Response) -> str:
    return f"{response.status_code} {response.text[:500]}"


def _json(response: httpx.Response) -> Json:
    try:
        return dict(response.json())
    except ValueError:
        return {}
