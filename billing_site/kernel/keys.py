"""
API keys: ``bk_<env>_<random>``, 256 bits of chance, stored only as a SHA-256 hash.

A plain fast hash is right here: the secret is random and long, so there is nothing to guess slowly.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.conf import settings

from billing_site.kernel import errors, fields, models

_PREFIX_LENGTH: Final = len("bk_test_") + 8
_SECRET_BYTES: Final = 32


class InvalidScopes(errors.Invalid):
    """A scope that does not exist, or none."""

    code = "invalid_scopes"
    title = "Invalid scopes"


class InvalidTenantCode(errors.Invalid):
    """The tenant that the key is to be bound to has no well-formed code."""

    code = "invalid_tenant_id"
    title = "Invalid tenant id"


def create_api_key(
    *,
    name: str,
    scopes: Sequence[str],
    now: datetime,
    tenant_id: str = "",
) -> tuple[models.ApiKey, str]:
    """
    Make a key and answer it with its secret, which is not kept and cannot be shown again.

    Raises:
        InvalidScopes: a scope that does not exist, or none.
        InvalidTenantCode: ``tenant_id`` is no well-formed code.
    """
    unknown = sorted(set(scopes) - set(models.SCOPES))
    if unknown or not scopes:
        raise InvalidScopes(f"scopes must be some of {', '.join(models.SCOPES)}, not {', '.join(unknown) or 'none'}")
    if tenant_id and not re.fullmatch(fields.CODE_PATTERN, tenant_id):
        raise InvalidTenantCode(f"tenant_id must be 1 to 64 of letters, digits and ._:-, not {tenant_id!r}")
    secret = f"bk_{settings.ENVIRONMENT}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    key = models.ApiKey.objects.create(
        name=name,
        prefix=secret[:_PREFIX_LENGTH],
        secret_hash=_hash(secret),
        scopes=sorted(set(scopes)),
        tenant_id=tenant_id,
        created_at=now,
    )
    return key, secret


def find_api_key(secret: str) -> models.ApiKey | None:
    """The living key with this secret, or None. One indexed read; the comparison takes the same time for any hash."""
    if not secret.startswith("bk_") or len(secret) > 200 or "\x00" in secret:
        return None
    key = models.ApiKey.objects.filter(prefix=secret[:_PREFIX_LENGTH], revoked_at=None).first()
    if key is None or not hmac.compare_digest(bytes(key.secret_hash), _hash(secret)):
        return None
    return key


def authenticate(authorization: str | None) -> models.ApiKey:
    """
    The key named by an ``Authorization`` header, as every door of the API takes it.

    Raises:
        errors.Unauthenticated: no header, another scheme than Bearer, or a key that we do not know.
    """
    scheme, _, secret = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise errors.Unauthenticated("send the header Authorization: Bearer <key>")
    key = find_api_key(secret.strip())
    if key is None:
        raise errors.Unauthenticated("the API key is not known or was revoked")
    return key


def require_scope(key: models.ApiKey, scope: str) -> None:
    """
    Let the key pass only with the scope.

    Raises:
        errors.Forbidden: the key does not carry it.
    """
    if not key.has_scope(scope):
        raise errors.Forbidden(f"this needs the scope {scope}; the key has {', '.join(key.scopes)}")


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
