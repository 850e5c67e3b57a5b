"""
The lines of one boundary's invoice, from a plan version, its prices and the usage of the period that ended.

Pure: rows and figures in, lines out. The order is the order on the invoice: the fees, then usage in the plan's order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from billing_site.kernel import money
from invoicing import errors, models, periods, proration
from invoicing.models.catalog import FeeTiming
from invoicing.models.invoices import LineKind
from invoicing.pricing import definitions, exact, rating
from ledger.models import MAXIMUM_AMOUNT_CENTS

# What one ledger entry holds.
MAXIMUM_CENTS: Final = MAXIMUM_AMOUNT_CENTS


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line before it is stored; its fields are those of ``models.LineItem``."""

    kind: LineKind
    description: str
    quantity: Fraction
    unrounded_amount_cents: Fraction
    amount_cents: int
    period: periods.Period
    meter: str = ""
    price_id: str | None = None
    unit_amount_cents: Decimal | None = None
    tiers: Sequence[Mapping[str, object]] = ()
    calculation: Mapping[str, object] | None = field(default=None)


def meters(prices: Sequence[models.Price]) -> list[str]:
    """The meters that the prices need the usage of, each once."""
    return sorted({price.meter for price in prices})


def compose(
    *,
    plan_version: models.PlanVersion,
    prices: Sequence[models.Price],
    schedule: periods.Schedule,
    boundary_at: datetime,
    quantities: Mapping[str, int | Decimal],
) -> list[Line]:
    """
    What is billed at a boundary: the usage and the fee in arrears of the period that ended, the fee in advance of the
    one that begins.

    Raises:
        errors.AmountTooLarge: a line's amount cannot be held.
    """
    ended = schedule.period_ending(boundary_at)
    composed = []
    if plan_version.base_fee_cents and plan_version.base_fee_timing == FeeTiming.IN_ADVANCE:
        composed.append(_base_fee(plan_version, schedule, schedule.period_beginning(boundary_at)))
    if ended is None:
        return composed
    if plan_version.base_fee_cents and plan_version.base_fee_timing == FeeTiming.IN_ARREARS:
        composed.append(_base_fee(plan_version, schedule, ended))
    composed.extend(of_usage(prices, quantities, ended))
    return composed


def of_usage(
    prices: Sequence[models.Price], quantities: Mapping[str, int | Decimal], period: periods.Period
) -> Iterator[Line]:
    """A line for each price, also where nothing was used: a first tier's flat fee is charged at zero."""
    for price in prices:
        rated = rating.rate(definitions.of_row(price.model, price.definition), quantities.get(price.meter, 0))
        if rated.amount_cents > MAXIMUM_CENTS:
            raise errors.AmountTooLarge(
                f"{rated.quantity} of {price.meter!r} cost {rated.amount_cents} in minor units, more than can be billed"
            )
        yield Line(
            kind=LineKind.USAGE,
            meter=price.meter,
            price_id=price.id,
            description=price.meter,
            quantity=rated.quantity,
            unit_amount_cents=rated.unit_amount_cents,
            unrounded_amount_cents=rated.unrounded_amount_cents,
            amount_cents=rated.amount_cents,
            tiers=[tier.as_json() for tier in rated.tiers],
            period=period,
        )


def _base_fee(plan_version: models.PlanVersion, schedule: periods.Schedule, period: periods.Period) -> Line:
    """The fee of a period; of a partial first calendar period its share by days, with the calculation kept."""
    days = periods.days_in(period, schedule.time_zone)
    of_days = periods.days_in(schedule.whole_period(period), schedule.time_zone)
    unrounded = proration.prorate(plan_version.base_fee_cents, days=days, of_days=of_days)
    partial = f" ({days} of {of_days} days)" if days != of_days else ""
    return Line(
        kind=LineKind.BASE_FEE,
        description=f"{plan_version.name}{partial}",
        quantity=Fraction(1),
        unit_amount_cents=Decimal(plan_version.base_fee_cents),
        unrounded_amount_cents=unrounded,
        amount_cents=money.round_half_away(unrounded),
        calculation={
            "fee_cents": plan_version.base_fee_cents,
            "days": days,
            "of_days": of_days,
            "unrounded_amount_cents": exact.exact_text(unrounded),
        },
        period=period,
    )
