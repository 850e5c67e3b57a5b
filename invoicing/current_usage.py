"""What the running periods of a tenant have used so far, and what that costs by the plans they are on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from invoicing import lines, metered_usage, models
from invoicing.models.subscriptions import BILLED_STATUSES
from metering import requests, usage


@dataclass(frozen=True, kw_only=True)
class CurrentMeter:
    """What a meter says so far, and what that costs in minor units."""

    meter: str
    quantity: int | Decimal
    event_count: int
    amount_cents: int


@dataclass(frozen=True, kw_only=True)
class CurrentPeriod:
    """
    The running period of one subscription.

    ``billable_units`` is the weight of the billable gateway requests of the period. ``amount_cents`` is for usage: fees
    are not in it.
    """

    subscription_id: str
    plan_code: str
    plan_version: int
    period_start: datetime
    period_end: datetime
    meters: Sequence[CurrentMeter]
    request_count: int
    billable_units: int
    average_response_time_ms: Decimal | None
    amount_cents: int


@dataclass(frozen=True, kw_only=True)
class CurrentUsage:
    """All running periods of a tenant. Every event accepted before ``fresh_as_of`` is counted."""

    tenant_id: str
    currency: str
    periods: Sequence[CurrentPeriod]
    amount_cents: int
    fresh_as_of: datetime


def get_current_usage(*, tenant: models.Tenant, now: datetime) -> CurrentUsage:
    """
    What a tenant's running periods add up to at ``now``, rated by the prices that the invoice will have.

    Raises:
        AmountTooLarge: a line's amount cannot be held.
    """
    subscriptions = (
        models.Subscription.objects.filter(
            tenant=tenant, status__in=BILLED_STATUSES, starts_at__lte=now, next_boundary_at__isnull=False
        )
        .select_related("plan_version")
        .prefetch_related("plan_version__prices")
        .order_by("id")
    )
    # Read before the figures: what they count can only be more.
    fresh_as_of = usage.fresh_as_of(tenant_id=tenant.id)
    running = [_get_current_period(subscription, now) for subscription in subscriptions]
    return CurrentUsage(
        tenant_id=tenant.id,
        currency=tenant.currency,
        periods=running,
        amount_cents=sum(period.amount_cents for period in running),
        fresh_as_of=fresh_as_of,
    )


def _get_current_period(subscription: models.Subscription, now: datetime) -> CurrentPeriod:
    schedule = subscription.schedule
    ends_at = schedule.next_after(now)
    period = schedule.period_ending(ends_at) or schedule.period_beginning(subscription.starts_at)
    prices = list(subscription.plan_version.prices.all())
    totals = metered_usage.of_period(tenant_id=subscription.tenant_id, prices=prices, period=period)
    amounts: Counter[str] = Counter()
    for line in lines.of_usage(prices, metered_usage.quantities(totals), period):
        amounts[line.meter] += line.amount_cents
    asked = requests.get_totals(
        tenant_id=subscription.tenant_id, period_start=period.starts_at, period_end=period.ends_at
    )
    return CurrentPeriod(
        subscription_id=subscription.id,
        plan_code=subscription.plan_version.plan_id,
        plan_version=subscription.plan_version.version,
        period_start=period.starts_at,
        period_end=period.ends_at,
        meters=[
            CurrentMeter(
                meter=meter, quantity=total.quantity, event_count=total.event_count, amount_cents=amounts[meter]
            )
            for meter, total in sorted(totals.items())
        ],
        request_count=asked.requests,
        billable_units=asked.units,
        average_response_time_ms=asked.average_response_time_ms,
        amount_cents=sum(amounts.values()),
    )
