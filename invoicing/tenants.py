"""Tenants: who is billed, in which currency, with which terms."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final

from billing_site.kernel.errors import FieldError, Invalid
from invoicing import errors, models
from invoicing.models.tenants import BillingChannel
from ledger import books

_MAXIMUM_METADATA_PAIRS: Final = 50


@dataclass(frozen=True, kw_only=True)
class TenantTerms:
    """What a tenant is made with. ``grace_hours`` None: the plan's, or 48."""

    name: str
    currency: str
    email: str = ""
    billing_channel: str = BillingChannel.MANUAL
    country: str = ""
    address: Mapping[str, str] = field(default_factory=dict)
    tax_id: str = ""
    net_terms_days: int = 0
    time_zone: str = "UTC"
    grace_hours: int | None = None
    book: str = "main"
    metadata: Mapping[str, str] = field(default_factory=dict)


def create_tenant(*, tenant_id: str, terms: TenantTerms, now: datetime) -> models.Tenant:
    """
    Make a tenant under the caller's own code.

    Idempotency: the same code with the same terms answers the first. Own or joined transaction.

    Raises:
        TenantExists: the code is taken by a tenant with other terms.
        BookNotFound: the ledger has no such book.
    """
    books.get_book(terms.book)
    values = asdict(terms)
    tenant, created = models.Tenant.objects.get_or_create(
        id=tenant_id, defaults={**values, "created_at": now, "updated_at": now}
    )
    if not created and any(getattr(tenant, name) != value for name, value in values.items()):
        raise errors.TenantExists(f"the tenant {tenant_id!r} exists and says something else; change it by PATCH")
    return tenant


def update_tenant(*, tenant_id: str, changes: Mapping[str, object], now: datetime) -> models.Tenant:
    """
    Change some terms; code, currency and book are for ever.

    ``metadata`` is merged: a pair with an empty value goes. Periods that were begun do not move with ``time_zone``.
    Locks: the tenant. Requires an open transaction.

    Raises:
        TenantNotFound: there is none.
        Invalid: the metadata would have more than 50 pairs.
    """
    tenant = models.Tenant.objects.select_for_update(no_key=True).filter(pk=tenant_id).first()
    if tenant is None:
        raise errors.TenantNotFound(f"no tenant {tenant_id!r}")
    for name, value in changes.items():
        setattr(tenant, name, _merged(tenant.metadata, value) if name == "metadata" else value)
    tenant.updated_at = now
    tenant.save(update_fields=[*changes, "updated_at"])
    return tenant


def get_tenant(tenant_id: str) -> models.Tenant:
    """The tenant; raises ``TenantNotFound`` where there is none."""
    tenant = models.Tenant.objects.filter(pk=tenant_id).first()
    if tenant is None:
        raise errors.TenantNotFound(f"no tenant {tenant_id!r}")
    return tenant


def _merged(stored: Mapping[str, str], sent: object) -> dict[str, str]:
    pairs = {**stored, **dict(sent)} if isinstance(sent, Mapping) else dict(stored)
    kept = {key: value for key, value in pairs.items() if value}
    if len(kept) > _MAXIMUM_METADATA_PAIRS:
        fault = FieldError("/metadata", "too_many", f"would have {len(kept)} pairs, at most {_MAXIMUM_METADATA_PAIRS}")
        raise Invalid(f"/metadata: {fault.detail}", errors=[fault])
    return kept
