"""Who may ask: DRF's authentication, permission and parser classes, apart from views so that settings can name them."""

import json
import re
from typing import Any, Final

from rest_framework import authentication, exceptions, parsers, permissions
from rest_framework.request import Request

from billing_site.kernel import errors, keys, models

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class Principal:
    """Who asks: an internal service with a key. No Django user stands behind it."""

    is_authenticated = True
    is_active = True

    def __init__(self, key: models.ApiKey) -> None:
        self.key = key
        self.pk = key.pk

    def __str__(self) -> str:
        return self.key.name


class ApiKeyAuthentication(authentication.BaseAuthentication):
    """``Authorization: Bearer bk_...``."""

    def authenticate(self, request: Request) -> tuple[Principal, models.ApiKey]:
        """The key, or 401: no address under /v1 is open."""
        try:
            key = keys.authenticate(request.headers.get("Authorization"))
        except errors.Unauthenticated as error:
            raise exceptions.AuthenticationFailed(error.detail) from error
        return Principal(key), key

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return 'Bearer realm="api"'


def key_of(request: Request) -> models.ApiKey:
    """The key that a request was let in with."""
    key = request.auth
    if not isinstance(key, models.ApiKey):
        raise exceptions.NotAuthenticated
    return key


class HasScope(permissions.BasePermission):
    """The method's scope, as the view declares it."""

    def has_permission(self, request: Request, view: object) -> bool:
        """Let pass, or refuse naming the scope."""
        scope = getattr(view, "scopes", {}).get(request.method)
        if scope is None:
            raise exceptions.MethodNotAllowed(str(request.method))
        keys.require_scope(key_of(request), scope)
        return True


class JsonParser(parsers.JSONParser):
    """
    JSON in UTF-8, without NaN and Infinity, with each name once, and of text that UTF-8 can write.

    A surrogate without its pair may be escaped in JSON, but no database holds it.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The value; raises a 400 that says why there is none."""
        try:
            text = stream.read().decode()
            value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_with_each_name_once)
            if _SURROGATE.search(text):
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise exceptions.ParseError(f"the body is no JSON that is taken here: {error}"[:300]) from error
        return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _with_each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise ValueError(f"the name {name!r} is given twice")
        document[name] = value
    return document
