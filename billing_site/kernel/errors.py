"""
Anticipated failures: one class per fact, with a stable ``code`` and the HTTP status it is answered with.

Each app's ``errors.py`` derives its own from these; ``problems`` writes them as RFC 9457.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldError:
    """One fault of a body: where (an RFC 6901 pointer, or ``?name`` for a query parameter), which rule, in words."""

    pointer: str
    code: str
    detail: str


class DomainError(Exception):
    """
    A refusal that was foreseen. ``detail`` is one sentence that names the field, the rule and the value.

    ``extra`` members are added to the problem document, such as the current state of what lost a race.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "invalid_request"
    title: ClassVar[str] = "Invalid request"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.extra = dict(extra or {})


class Invalid(DomainError):
    """The request breaks a rule, whatever the state of things."""


class Unauthenticated(DomainError):
    """No key, or none that we know."""

    status = 401
    code = "unauthenticated"
    title = "Unauthenticated"


class Forbidden(DomainError):
    """The key may not do this."""

    status = 403
    code = "forbidden"
    title = "Forbidden"


class NotFound(DomainError):
    """There is no such thing, or it is another tenant's, which is the same."""

    status = 404
    code = "not_found"
    title = "Not found"


class Conflict(DomainError):
    """The state of things does not allow this now; ``extra`` tells the state."""

    status = 409
    code = "conflict"
    title = "Conflict"


class TooLarge(DomainError):
    """The body is over its limit."""

    status = 413
    code = "body_too_large"
    title = "Body too large"


class UnsupportedMediaType(DomainError):
    """The body is in a form that is not taken here."""

    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


class Unprocessable(DomainError):
    """Well formed, but it contradicts what is stored."""

    status = 422
    code = "unprocessable"
    title = "Unprocessable"


class Unavailable(DomainError):
    """An outside service did not answer; the same request may be sent again."""

    status = 503
    code = "unavailable"
    title = "Unavailable"


def pointer_token(name: str) -> str:
    """A name as one step of an RFC 6901 pointer."""
    return name.replace("~", "~0").replace("/", "~1")
