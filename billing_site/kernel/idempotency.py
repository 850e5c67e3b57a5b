"""
``Idempotency-Key``: a POST that is sent again answers as the first did, and has one effect.

Keys belong to the API key that sent them. Only a 2xx answer is remembered, committed together with its effect; any
other answer changed nothing and is rolled back whole. While the first is still running, a second is a 409 at once: the
key is try-locked, never waited for. Records are kept ``KEPT_FOR`` at least.
"""

import functools
import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, cast

from django.db import connection, transaction
from django.db.models import Q
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import clock, database, errors, models

KEPT_FOR: Final = timedelta(hours=48)
_KEY_LENGTH: Final = 255

V = TypeVar("V", bound=Callable[..., Response])


class KeyReused(errors.Unprocessable):
    """The same key came with another request."""

    code = "idempotency_key_reused"
    title = "Idempotency key reused"


class KeyInUse(errors.Conflict):
    """The first request with this key is still running."""

    code = "idempotency_key_in_use"
    title = "Idempotency key in use"


def idempotent(handler: V) -> V:
    """
    Run a ``post`` method in one transaction, and once per ``Idempotency-Key``.

    The transaction commits only when the answer is 2xx, together with the record of it. One that fails by a deadlock or
    a serialization failure is run again as a whole, bounded.
    """

    @functools.wraps(handler)
    def once(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = read_key(request)

        def answer() -> Response:
            if key is None:
                return _committed_only_if_successful(handler(view, request, *args, **kwargs))
            lock(request, key)
            replay = find_replay(request, key)
            if replay is not None:
                return replay
            response = _committed_only_if_successful(handler(view, request, *args, **kwargs))
            remember(request, key, response)
            return response

        return database.retrying(answer)

    return _marked(once, handler)


def idempotent_around_calls(handler: V) -> V:
    """
    The same for a ``post`` that calls a processor and so manages its own transactions.

    The handler commits its attempt row, under the key, before the call; a crash in between leaves no record here, and
    the repeated request answers from that row.
    """

    @functools.wraps(handler)
    def once(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = read_key(request)
        if key is None:
            return handler(view, request, *args, **kwargs)
        with transaction.atomic():
            lock(request, key)
            replay = find_replay(request, key)
        if replay is not None:
            return replay
        response = handler(view, request, *args, **kwargs)
        with transaction.atomic():
            lock(request, key)
            if find_replay(request, key) is None:
                remember(request, key, response)
        return response

    return _marked(once, handler)


def read_key(request: Request) -> str | None:
    """
    The key, quoted (a structured-field string) or not.

    Raises:
        errors.Invalid: empty, over 255 characters, or not printable ASCII.
    """
    sent = request.headers.get("Idempotency-Key")
    if sent is None:
        return None
    key = sent[1:-1] if len(sent) > 1 and sent[0] == sent[-1] == '"' else sent
    if not 1 <= len(key) <= _KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise errors.Invalid(f"Idempotency-Key must be 1 to {_KEY_LENGTH} printable ASCII characters")
    return key


def lock(request: Request, key: str) -> None:
    """
    Hold the key until the transaction ends; where somebody holds it, do not wait.

    Raises:
        KeyInUse: another request with this key is running.
    """
    digest = hashlib.blake2b(f"{request.auth.pk}:{key}".encode(), digest_size=8).digest()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [int.from_bytes(digest, signed=True)])
        if not cursor.fetchone()[0]:
            raise KeyInUse(f"a request with the Idempotency-Key {key!r} is still running; send it again in a moment")


def find_replay(request: Request, key: str) -> Response | None:
    """
    The remembered answer, marked as replayed, or None.

    Raises:
        KeyReused: the key was used with another method, path or body.
    """
    record = models.IdempotencyRecord.objects.filter(api_key_id=request.auth.pk, key=key).first()
    if record is None:
        return None
    if bytes(record.fingerprint) != fingerprint(request):
        raise KeyReused(f"the Idempotency-Key {key!r} was used with another request; take a new key")
    return Response(record.body, status=record.status, headers={"Idempotent-Replayed": "true"})


def remember(request: Request, key: str, response: Response) -> None:
    """Write a 2xx answer beside its effect; requires the transaction that holds the key."""
    if not 200 <= response.status_code < 300:
        return
    models.IdempotencyRecord.objects.create(
        api_key_id=request.auth.pk,
        key=key,
        fingerprint=fingerprint(request),
        status=response.status_code,
        body=json.loads(JSONRenderer().render(response.data)),
        created_at=clock.now(),
    )


def fingerprint(request: Request) -> bytes:
    """What makes two requests the same: method, path, query and the body's meaning (not its spacing)."""
    meaning = json.dumps(request.data, sort_keys=True, separators=(",", ":"))
    text = "\n".join([str(request.method), request.get_full_path(), meaning])
    return hashlib.sha256(text.encode()).digest()


def purge(*, now: datetime, slice_size: int = 1000) -> int:
    """Forget records older than ``KEPT_FOR``, in bounded slices; safe to run twice at once. Answers how many went."""
    forgotten = 0
    while True:
        old = models.IdempotencyRecord.objects.filter(Q(created_at__lt=now - KEPT_FOR))
        count, _ = models.IdempotencyRecord.objects.filter(
            pk__in=list(old.values_list("pk", flat=True)[:slice_size])
        ).delete()
        forgotten += count
        if count < slice_size:
            return forgotten


def _marked(once: Callable[..., Response], handler: V) -> V:
    """Let a test see which handlers take the header; the wrapper has the handler's signature."""
    once.takes_idempotency_key = True  # type: ignore[attr-defined]
    return cast("V", once)


def _committed_only_if_successful(response: Response) -> Response:
    if response.status_code >= 400:
        transaction.set_rollback(True)
    return response
