"""
Bodies sent in chunks (RFC 9112, section 7.1), as HTTP clients that stream do: without a Content-Length.

Django reads as many bytes as the length says, and so none of these. A server that ends its stream where the last chunk
ends says so (``wsgi.input_terminated``); then the body is read here, bounded, and given its length.
"""

import io
from collections.abc import Callable, Iterable
from typing import Any, Final

from django.conf import settings

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

_CHUNK_BYTES: Final = 64 * 1024


def with_length(application: Application) -> Application:
    """Wrap a WSGI application so that it meets every body with its length; one too large by a byte at most."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if _is_chunked(environ):
            body = _read(environ["wsgi.input"], settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        return application(environ, start_response)

    return wrapped


def _is_chunked(environ: dict[str, Any]) -> bool:
    return (
        bool(environ.get("wsgi.input_terminated"))
        and not environ.get("CONTENT_LENGTH")
        and environ.get("HTTP_TRANSFER_ENCODING", "").strip().lower() == "chunked"
    )


def _read(stream: Any, limit: int) -> bytes:
    """At most ``limit`` bytes; a stream may answer fewer than it is asked for before its end."""
    parts: list[bytes] = []
    left = limit
    while left > 0 and (part := stream.read(min(left, _CHUNK_BYTES))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
