"""Making a tenant known to its billing channel, once."""

from datetime import datetime
from typing import Any

from django.db import transaction

from invoicing.models import Tenant
from marketplaces.channels import base, registry
from marketplaces.models import ChannelCustomer, CustomerStatus


def onboard_customer(*, tenant: Tenant, now: datetime) -> ChannelCustomer:
    """
    Return the tenant's customer at its channel, made there when there is none yet.

    The row and what it will say are committed before the call, so that a crash in between repeats the same call under
    the same key and finds the same customer. Owns its transactions and must not run inside one.

    Locks: none across the call.

    Raises:
        errors.ChannelNotConfigured: the tenant's channel is not served here.
        errors.ChannelUnavailable: the channel did not answer; call again.
        errors.ChannelRefused: the channel will not have the tenant.
    """
    channel = registry.get_channel(tenant.billing_channel)
    customer = _begin(tenant=tenant, now=now)
    if customer.status == CustomerStatus.ACTIVE:
        return customer
    external = channel.onboard_customer(base.Registration(**customer.registration))
    with transaction.atomic():
        customer = ChannelCustomer.objects.select_for_update().get(pk=customer.pk)
        if customer.status == CustomerStatus.PENDING:
            customer.status = CustomerStatus.ACTIVE
            customer.external_id = external.external_id
            customer.onboarded_at = now
            customer.save(update_fields=["status", "external_id", "onboarded_at"])
    return customer


def find_customer(*, tenant_id: str, channel: str) -> ChannelCustomer | None:
    """Return the tenant's customer at a channel, if it was onboarded."""
    return ChannelCustomer.objects.filter(
        tenant_id=tenant_id,
        channel=channel,
        status=CustomerStatus.ACTIVE,
    ).first()


def as_external(customer: ChannelCustomer) -> base.ExternalCustomer:
    """Return the customer as adapters know it."""
    return base.ExternalCustomer(channel=customer.channel, external_id=customer.external_id)


def _begin(*, tenant: Tenant, now: datetime) -> ChannelCustomer:
    """Commit the row; two who begin at once get the same one."""
    customer = ChannelCustomer(tenant=tenant, channel=tenant.billing_channel, created_at=now)
    registration: dict[str, Any] = {
        "tenant_id": tenant.pk,
        "name": tenant.name,
        "email": tenant.email,
        "country": tenant.country,
        "idempotency_key": f"customer:{customer.pk}:create",
    }
    customer, _ = ChannelCustomer.objects.get_or_create(
        tenant=tenant,
        channel=tenant.billing_channel,
        defaults={"id": customer.pk, "registration": registration, "created_at": now},
    )
    return customer
