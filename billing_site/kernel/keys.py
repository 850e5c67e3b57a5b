"""
API keys: ``bk_<env>_<random>``, 256 bits of chance, stored only as a SHA-256 hash.

A plain fast hash is right here: the secret is random and long, so there is nothing to guess slowly.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from django.conf import settings

from billing_site.kernel import copies, errors, fields, models

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


class InvalidRateLimit(errors.Invalid):
    """The key's own rate limit cannot be read."""

    code = "invalid_rate_limit"
    title = "Invalid rate limit"


def create_api_key(
    *,
    name: str,
    scopes: Sequence[str],
    now: datetime,
    tenant_id: str = "",
    rate_limit: str = "",
) -> tuple[models.ApiKey, str]:
    """
    Make a key and answer it with its secret, which is not kept and cannot be shown again.

    Raises:
        InvalidScopes: a scope that does not exist, or none.
        InvalidTenantCode: ``tenant_id`` is no well-formed code.
        InvalidRateLimit: ``rate_limit`` is not like ``600/minute;50000/day``.
    """
    unknown = sorted(set(scopes) - set(models.SCOPES))
    if unknown or not scopes:
        raise InvalidScopes(f"scopes must be some of {', '.join(models.SCOPES)}, not {', '.join(unknown) or 'none'}")
    if tenant_id and not re.fullmatch(fields.CODE_PATTERN, tenant_id):
        raise InvalidTenantCode(f"tenant_id must be 1 to 64 of letters, digits and ._:-, not {tenant_id!r}")
    if re.fullmatch(models.RATE_LIMIT_PATTERN, rate_limit) is None or "\n" in rate_limit:
        raise InvalidRateLimit(f"rate_limit must be up to four like 600/minute with ; between, not {rate_limit!r}")
    secret = f"bk_{settings.ENVIRONMENT}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    key = models.ApiKey.objects.create(
        name=name,
        prefix=secret[:_PREFIX_LENGTH],
        secret_hash=_hash(secret),
        scopes=sorted(set(scopes)),
        tenant_id=tenant_id,
        rate_limit=rate_limit,
        created_at=now,
    )
    return key, secret


def find_api_key(secret: str) -> models.ApiKey | None:
    """The living key with this secret, or None. One indexed read; the comparison takes the same time for any hash."""
    if not _is_well_formed(secret):
        return None
    name = (secret[:_PREFIX_LENGTH], _hash(secret))
    return _load([name]).get(name)


def authenticate(authorization: str | None, *, from_copy: bool = False) -> models.ApiKey:
    """
    The key named by an ``Authorization`` header, as every door of the API takes it.

    ``from_copy`` is for the data path: the key may be what the database said up to 30 s ago, and up to 10 minutes ago
    while the database does not answer in time (``copies``). So long can a revoked key still send events.

    Raises:
        errors.Unauthenticated: no header, another scheme than Bearer, or a key that we do not know.
    """
    scheme, _, secret = (authorization or "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise errors.Unauthenticated("send the header Authorization: Bearer <key>")
    if from_copy and _is_well_formed(secret):
        key = _copies.get((secret[:_PREFIX_LENGTH], _hash(secret)))
    else:
        key = find_api_key(secret)
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


def _is_well_formed(secret: str) -> bool:
    return secret.startswith("bk_") and len(secret) <= 200 and secret.isascii() and "\x00" not in secret


def _load(names: Collection[tuple[str, bytes]]) -> dict[tuple[str, bytes], models.ApiKey]:
    """The living keys of these prefixes and hashes, by both."""
    found = models.ApiKey.objects.filter(prefix__in=[prefix for prefix, _ in names], revoked_at=None)
    by_prefix = {key.prefix: key for key in found}
    return {
        (prefix, secret_hash): key
        for prefix, secret_hash in names
        if (key := by_prefix.get(prefix)) and hmac.compare_digest(bytes(key.secret_hash), secret_hash)
    }


_copies: Final = copies.Copies("api_keys", _load)  # by hash: no secret stays in memory
