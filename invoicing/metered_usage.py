"""What the meters say of a period that is billed, in the quantities that prices rate."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from invoicing import lines, models, periods
from metering import aggregation, hours, usage


def of_period(
    *, tenant_id: str, prices: Sequence[models.Price], period: periods.Period | None
) -> Mapping[str, usage.UsageTotal]:
    """What each meter of the prices adds up to, read in one statement and so in one snapshot."""
    meters = lines.meters(prices)
    if period is None or not meters:
        return {}
    return usage.totals(tenant_id=tenant_id, meters=meters, period_start=period.starts_at, period_end=period.ends_at)


def of_invoice(invoice: models.Invoice) -> Mapping[str, usage.UsageTotal]:
    """What each meter that the invoice bills adds up to by now; nothing where it bills no usage."""
    if invoice.subscription is None or not invoice.bills_usage:
        return {}
    return of_period(
        tenant_id=invoice.tenant_id,
        prices=list(invoice.subscription.plan_version.prices.all()),
        period=periods.Period(invoice.period_start, invoice.period_end),
    )


def quantities(totals: Mapping[str, usage.UsageTotal]) -> dict[str, int | Decimal]:
    """The figure of each meter that is rated: its sum, count, maximum, average, as the meter says."""
    return {meter: total.quantity for meter, total in totals.items()}


def awaits_summary(*, subscription: models.Subscription, period: periods.Period) -> bool:
    """Whether events of the period are stored that no summary counts yet. Read before the totals, never after."""
    prices = list(subscription.plan_version.prices.all())
    return usage.has_pending_windows(
        tenant_id=subscription.tenant_id,
        period_start=period.starts_at,
        period_end=period.ends_at,
        meters=lines.meters(prices),
    )


def split_hours(*, tenant_id: str, boundaries: Sequence[datetime | None], now: datetime) -> None:
    """
    Have the hours in which boundaries lie summarised in two rows, so that each period has its own part.

    Where a time zone is at :30 or :45, midnight is inside an hour of UTC. Idempotency: an hour that is split there
    stays so. Requires an open transaction.
    """
    for boundary_at in boundaries:
        if boundary_at is not None and hours.start_of(hours.hour_of(boundary_at)) != boundary_at:
            aggregation.split_hour(tenant_id=tenant_id, at=boundary_at, now=now)
