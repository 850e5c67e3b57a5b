"""
Rating: a price and a quantity in, an amount out.

Arithmetic is exact. The amount is rounded once, at the end of the line, half away from zero; the tiers' shares are
allocated so that they add up to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from billing_site.kernel import money
from invoicing.pricing import definitions, exact, reading, slices


@dataclass(frozen=True, kw_only=True, slots=True)
class RatedTier:
    """One row of the calculation: a slice of the quantity, its rates, its exact amount and its share of the line."""

    from_quantity: Fraction
    up_to: Fraction | None
    quantity: Fraction
    unit_amount_cents: Decimal
    flat_amount_cents: int
    unrounded_amount_cents: Fraction
    amount_cents: int

    def as_json(self) -> dict[str, object]:
        """The row as the API writes it; quantities count priced units."""
        return {
            "from": exact.json_quantity(self.from_quantity),
            "up_to": None if self.up_to is None else exact.json_quantity(self.up_to),
            "quantity": exact.json_quantity(self.quantity),
            "unit_amount_cents": reading.rate_text(self.unit_amount_cents),
            "flat_amount_cents": self.flat_amount_cents,
            "amount_cents": self.amount_cents,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RatedLine:
    """
    A priced quantity.

    Units: ``quantity`` counts raw units, the tiers priced units; ``amount_cents`` is the minor unit of the price's
    currency, ``unrounded_amount_cents`` the same before its one rounding, after the price's minimum and maximum.
    ``unit_amount_cents`` is None where tiers have rates of their own.
    """

    quantity: Fraction
    unit_amount_cents: Decimal | None
    unrounded_amount_cents: Fraction
    amount_cents: int
    tiers: tuple[RatedTier, ...]


def rate(price: definitions.Price, quantity: int | Decimal | Fraction) -> RatedLine:
    """
    Price a quantity of raw units.

    Raises:
        ValueError: the quantity is negative or not finite.
    """
    raw = Fraction(quantity)
    if raw < 0:
        raise ValueError(f"a quantity of {quantity} cannot be rated: it is negative")
    parts = list(price.model.slices(_priced_units(price, raw)))
    unrounded = _bounded(price, sum((part.unrounded_amount_cents for part in parts), Fraction(0)))
    amount_cents = money.round_half_away(unrounded)
    return RatedLine(
        quantity=raw,
        unit_amount_cents=price.model.unit_amount_cents,
        unrounded_amount_cents=unrounded,
        amount_cents=amount_cents,
        tiers=tuple(_share(parts, amount_cents)),
    )


def _priced_units(price: definitions.Price, raw: Fraction) -> Fraction:
    """Raw units as the units that are priced, which may be fractional."""
    units = raw / price.unit_size
    match price.unit_rounding:
        case "up":
            return Fraction(units.__ceil__())
        case "down":
            return Fraction(units.__floor__())
        case "nearest":
            return Fraction(money.round_half_away(units))
        case "none":
            return units


def _bounded(price: definitions.Price, amount: Fraction) -> Fraction:
    """The amount within the price's minimum and maximum."""
    if price.minimum_cents is not None and amount < price.minimum_cents:
        return Fraction(price.minimum_cents)
    if price.maximum_cents is not None and amount > price.maximum_cents:
        return Fraction(price.maximum_cents)
    return amount


def _share(parts: Sequence[slices.Slice], amount_cents: int) -> list[RatedTier]:
    """The rows with rounded shares that add up to the line; a minimum over free rows falls on the first."""
    weights = [part.unrounded_amount_cents for part in parts]
    return [
        RatedTier(
            from_quantity=part.from_quantity,
            up_to=part.up_to,
            quantity=part.quantity,
            unit_amount_cents=part.unit_amount_cents,
            flat_amount_cents=part.flat_amount_cents,
            unrounded_amount_cents=part.unrounded_amount_cents,
            amount_cents=share,
        )
        for part, share in zip(parts, money.allocate(amount_cents, weights), strict=True)
    ]
