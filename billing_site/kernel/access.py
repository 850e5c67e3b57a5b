"""Who may ask: DRF's authentication, permission and parser classes, apart from views so that settings can name them."""

from rest_framework import authentication, exceptions, parsers, permissions
from rest_framework.request import Request

from billing_site.kernel import errors, keys, models


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
    """JSON in UTF-8, without NaN and Infinity, and with each name once."""

    strict = True
