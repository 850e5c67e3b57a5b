"""One call from its head to its answer: key, idempotency, parameters, the work itself."""

import base64
import binascii
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from tests.stand_ins.stripe import idempotency, ids, parameters, problems, routes
from tests.stand_ins.stripe.account import Account, Cause, Object
from tests.stand_ins.stripe.call import Call
from tests.stand_ins.stripe.idempotency import Answer
from tests.stand_ins.stripe.problems import StripeProblem

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?")


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    form: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """What goes back: status, body, and the headers Stripe sets."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Service:
    """The API of one account."""

    def __init__(self, account: Account, api_key: str) -> None:
        self.account = account
        self._api_key = api_key
        self._keys = idempotency.Keys(account)

    def answer(self, asked: Asked, *, before: float = 0.0, instead: int | None = None) -> Reply:
        """
        Answer one request.

        ``before`` seconds pass while the idempotency key is held; ``instead`` is the status given, and remembered, in
        place of the true one after the work is done.
        """
        request_id = ids.new_id("req", 14)
        headers = {"Request-Id": request_id, "Content-Type": "application/json"}
        key = asked.headers.get("Idempotency-Key") if asked.method == "POST" else None
        if key is not None:
            headers["Idempotency-Key"] = key
        try:
            self.authenticate(asked.headers)
            _check_version(asked.headers)
            answer = self._once(asked, request_id, key, before, instead)
        except StripeProblem as problem:
            answer = Answer(problem.status, problem.body, request_id)
        if answer.request_id != request_id:
            headers |= {"Idempotent-Replayed": "true", "Original-Request": answer.request_id}
        headers["Stripe-Version"] = asked.headers.get("Stripe-Version") or "2026-10-28.endive"
        return Reply(answer.status, json.dumps(answer.body, indent=2).encode(), headers)

    def authenticate(self, headers: Mapping[str, str]) -> None:
        """Check the secret key, sent as a bearer token or as the user of basic authentication."""
        scheme, _, given = (headers.get("Authorization") or "").partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                given = ""
        if not given:
            raise StripeProblem(HTTPStatus.UNAUTHORIZED, "You did not provide an API key.")
        if given != self._api_key:
            raise StripeProblem(HTTPStatus.UNAUTHORIZED, f"Invalid API Key provided: {given[:8]}****{given[-4:]}")

    def _once(self, asked: Asked, request_id: str, key: str | None, before: float, instead: int | None) -> Answer:
        """Do the work, once for each idempotency key."""
        endpoint, object_id = routes.find(asked.method, asked.path)
        raw = parameters.decode(asked.form)
        digest = idempotency.fingerprint(asked.method, asked.path, raw)
        if key is not None:
            kept = self._keys.begin(key, digest)
            if kept is not None:
                return kept
        try:
            if before:
                time.sleep(before)
            checked = parameters.read_all(raw, endpoint.members, endpoint.required)
            cause = Cause(request_id, key)
            call = Call(self.account, cause, int(time.time()), checked, object_id)
            answer = self._work(call, endpoint.run, instead)
            if key is not None:
                self._keys.answered(key, digest, answer)
            return answer
        finally:
            if key is not None:
                self._keys.end(key)

    def _work(self, call: Call, run: Callable[[Call], Object], instead: int | None) -> Answer:
        with self.account.lock:
            try:
                status = 200
                body: Mapping[str, object] = run(call)
            except StripeProblem as problem:
                status, body = problem.status, problem.body
            if instead is not None:
                status, body = instead, {"error": {"message": "Something went wrong.", "type": "api_error"}}
            # Written out now, while nobody changes the objects in it.
            return Answer(status, json.loads(json.dumps(body)), call.cause.request_id)


def _check_version(headers: Mapping[str, str]) -> None:
    version = headers.get("Stripe-Version")
    if version is not None and not _VERSION.fullmatch(version):
        raise problems.invalid(f"Invalid Stripe API version: {version}")
