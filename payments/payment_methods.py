"""Saving a way to charge a tenant: onboarded at the processor first if need be, each call once for its row."""

from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, transaction

from billing_site.kernel import database
from billing_site.kernel.errors import FieldError
from invoicing import errors as invoicing_errors
from invoicing.models import Tenant
from marketplaces import errors as channel_errors
from marketplaces import onboarding
from marketplaces.channels import base, registry
from payments import collection, errors
from payments.models import MethodStatus, PaymentMethod


@dataclass(frozen=True, kw_only=True)
class Offer:
    """
    A payment method that the tenant has set up with the processor.

    ``request_key`` names the request that offers it; the same one answers the same row.
    """

    tenant_id: str
    external_id: str
    is_default: bool = False
    request_key: str = ""


def save_payment_method(*, offer: Offer, now: datetime) -> PaymentMethod:
    """
    Save a payment method with the tenant's processor, and wake what waited for one.

    The tenant's first method is the default. The row is committed before each call, and a repeated request goes on from
    it under the same keys. Owns its transactions and must not run inside one.

    Raises:
        invoicing.errors.TenantNotFound: no such tenant.
        errors.ChannelDoesNotCharge: the tenant is billed by other means.
        marketplaces.errors.PaymentMethodRefused, PaymentMethodNotFound: the processor will not have it.
        marketplaces.errors.ChannelUnavailable: no answer; send the same request again.
    """
    tenant = Tenant.objects.filter(pk=offer.tenant_id).first()
    if tenant is None:
        detail = f"no tenant {offer.tenant_id!r}"
        raise invoicing_errors.TenantNotFound(detail, errors=[FieldError("/tenant_id", "tenant_not_found", detail)])
    if tenant.billing_channel not in registry.CHARGING_CHANNELS:
        raise errors.ChannelDoesNotCharge(f"tenant {tenant.pk!r} is billed through {tenant.billing_channel!r}")
    processor = registry.get_payment_processor(tenant.billing_channel)
    method = find_method(request_key=offer.request_key) or _begin(tenant, offer, now)
    if method.status == MethodStatus.ACTIVE:
        return method
    if method.status == MethodStatus.REFUSED:
        raise _refused_before(method)
    customer = onboarding.onboard_customer(tenant=tenant, now=now)
    request = base.SaveMethodRequest(
        customer=onboarding.as_external(customer),
        external_id=method.offered_id,
        idempotency_key=f"payment_method:{method.pk}:attach",
    )
    try:
        saved = processor.save_payment_method(request)
    except (channel_errors.PaymentMethodRefused, channel_errors.PaymentMethodNotFound) as error:
        _refuse(method, error)
        raise
    return _activate(method, saved, now)


def find_method(*, request_key: str) -> PaymentMethod | None:
    """Return the payment method that a request made earlier."""
    if not request_key:
        return None
    return PaymentMethod.objects.filter(request_key=request_key).first()


def _begin(tenant: Tenant, offer: Offer, now: datetime) -> PaymentMethod:
    """Commit the row; one that is the tenant's already is used again."""
    known = PaymentMethod.objects.filter(channel=tenant.billing_channel, external_id=offer.external_id).first()
    if known is not None and known.tenant_id == tenant.pk:
        return _as_wanted(known, offer, now)
    if known is not None:
        # Another tenant's: told in the words for one that does not exist.
        raise channel_errors.PaymentMethodNotFound(f"{offer.external_id!r} cannot be attached to this customer")
    method = PaymentMethod(
        tenant=tenant,
        channel=tenant.billing_channel,
        offered_id=offer.external_id,
        wanted_as_default=offer.is_default,
        request_key=offer.request_key,
        created_at=now,
    )
    try:
        with transaction.atomic():
            method.save(force_insert=True)
    except IntegrityError as error:
        if database.raised_constraint(error) != "payments_method_request_made_once":
            raise
        return PaymentMethod.objects.get(request_key=offer.request_key)
    return method


def _as_wanted(known: PaymentMethod, offer: Offer, now: datetime) -> PaymentMethod:
    if offer.is_default and not known.is_default:
        with transaction.atomic():
            Tenant.objects.select_for_update(no_key=True).get(pk=known.tenant_id)
            _make_default(known)
            collection.wake(tenant_id=known.tenant_id, now=now)
    return known


def _activate(method: PaymentMethod, saved: base.SavedMethod, now: datetime) -> PaymentMethod:
    """Write down what the processor saved. The tenant's lock keeps two from becoming the default at once."""
    with transaction.atomic():
        Tenant.objects.select_for_update(no_key=True).get(pk=method.tenant_id)
        twin = PaymentMethod.objects.filter(channel=method.channel, external_id=saved.external_id).first()
        if twin is not None and twin.pk != method.pk:
            # Two requests offered the same method; the first row to be saved is the method.
            return twin
        method.refresh_from_db()
        if method.status == MethodStatus.ACTIVE:
            return method
        method.status = MethodStatus.ACTIVE
        method.external_id = saved.external_id
        method.kind = saved.kind
        method.brand = saved.brand
        method.last4 = saved.last4
        method.expires_month = saved.expires_month
        method.expires_year = saved.expires_year
        method.saved_at = now
        method.save()
        has_default = PaymentMethod.objects.filter(tenant_id=method.tenant_id, is_default=True).exists()
        if method.wanted_as_default or not has_default:
            _make_default(method)
            collection.wake(tenant_id=method.tenant_id, now=now)
    return method


def _make_default(method: PaymentMethod) -> None:
    PaymentMethod.objects.filter(tenant_id=method.tenant_id, is_default=True).update(is_default=False)
    method.is_default = True
    method.save(update_fields=["is_default"])


def _refuse(
    method: PaymentMethod,
    error: channel_errors.PaymentMethodRefused | channel_errors.PaymentMethodNotFound,
) -> None:
    PaymentMethod.objects.filter(pk=method.pk, status=MethodStatus.PENDING).update(
        status=MethodStatus.REFUSED,
        failure_code=str(error.extra.get("processor_code") or error.code),
        decline_code=str(error.extra.get("decline_code") or ""),
        message=error.detail[:500],
    )


def _refused_before(method: PaymentMethod) -> channel_errors.PaymentMethodRefused:
    return channel_errors.PaymentMethodRefused(
        method.message,
        extra={"processor_code": method.failure_code, "decline_code": method.decline_code},
    )
