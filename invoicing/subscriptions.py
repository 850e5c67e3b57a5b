"""
Subscriptions: a tenant on a plan, from a local midnight on.

All boundaries are midnights in the tenant's time zone, the first one too: a subscription asked for at 15:30 begins with
that day, so that its first period has whole days and usage of that morning is billed rather than lost.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from django.db.models import Q

from billing_site.kernel import outbox
from billing_site.kernel.errors import FieldError, Invalid
from invoicing import catalog, errors, metered_usage, models, periods
from invoicing.models.subscriptions import LIVE_STATUSES, SubscriptionStatus

# Events are kept back to 2000; nothing is sold for the next century.
EARLIEST_START: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST_START: Final = datetime(2100, 1, 1, tzinfo=UTC)


def create_subscription(
    *,
    tenant_id: str,
    plan_code: str,
    starts_at: datetime,
    metadata: Mapping[str, str],
    now: datetime,
) -> models.Subscription:
    """
    Put a tenant on the latest version of a plan, from the local midnight on or before ``starts_at``.

    ``starts_at`` may lie in the past: the boundaries since are drafted by the next sweep, and their grace period counts
    from now. The tenant's time zone is copied; it stays the subscription's.
    Locks: the tenant. Requires an open transaction.

    Raises:
        Invalid: ``starts_at`` is out of bounds.
        TenantNotFound, PlanNotFound: what their names say.
        CurrencyMismatch: plan and tenant differ in currency.
        SubscriptionExists: a living subscription bills the same plan or meter for this tenant.
    """
    if not EARLIEST_START <= starts_at < LATEST_START:
        fault = FieldError("/starts_at", "out_of_range", "must be from 2000 to 2099")
        raise Invalid(f"/starts_at: {fault.detail}", errors=[fault])
    tenant = _locked_tenant(tenant_id)
    plan_version = _latest_version(plan_code)
    _check_currency(tenant, plan_version)
    _check_bills_nothing_twice(tenant, plan_version)
    start = periods.midnight_on_or_before(starts_at, tenant.time_zone)
    subscription = models.Subscription.objects.create(
        tenant=tenant,
        plan_version=plan_version,
        currency=tenant.currency,
        status=SubscriptionStatus.ACTIVE,
        starts_at=start,
        time_zone=tenant.time_zone,
        next_boundary_at=start,
        metadata=dict(metadata),
        created_at=now,
    )
    metered_usage.split_hours(tenant_id=tenant.id, boundaries=[start, subscription.schedule.next_after(start)], now=now)
    outbox.leave(
        topic="subscription.created",
        tenant_id=tenant.id,
        reference_id=subscription.id,
        payload={"subscription_id": subscription.id, "plan_code": plan_code, "plan_version": plan_version.version},
        now=now,
    )
    return subscription


def _locked_tenant(tenant_id: str) -> models.Tenant:
    tenant = models.Tenant.objects.select_for_update(no_key=True).filter(pk=tenant_id).first()
    if tenant is None:
        fault = FieldError("/tenant_id", "tenant_not_found", f"no tenant {tenant_id!r}")
        raise errors.TenantNotFound(fault.detail, errors=[fault])
    return tenant


def _latest_version(plan_code: str) -> models.PlanVersion:
    try:
        return catalog.get_latest_version(plan_code)
    except errors.PlanNotFound as error:
        fault = FieldError("/plan_code", error.code, error.detail)
        raise errors.PlanNotFound(error.detail, errors=[fault]) from error


def _check_currency(tenant: models.Tenant, plan_version: models.PlanVersion) -> None:
    if tenant.currency != plan_version.currency:
        detail = f"the plan {plan_version.plan_id!r} is in {plan_version.currency}, the tenant in {tenant.currency}"
        fault = FieldError("/plan_code", "currency_mismatch", detail)
        raise errors.CurrencyMismatch(detail, errors=[fault])


def _check_bills_nothing_twice(tenant: models.Tenant, plan_version: models.PlanVersion) -> None:
    """Usage belongs to a tenant and a meter, so two subscriptions with one meter would each bill all of it."""
    meters = list(plan_version.prices.values_list("meter", flat=True))
    other = (
        models.Subscription.objects.filter(tenant=tenant, status__in=LIVE_STATUSES)
        .filter(Q(plan_version__plan_id=plan_version.plan_id) | Q(plan_version__prices__meter__in=meters))
        .first()
    )
    if other is not None:
        raise errors.SubscriptionExists(
            f"the subscription {other.id} of {tenant.id!r} bills this plan or one of its meters already",
            extra={"subscription_id": other.id, "subscription_status": other.status},
        )
