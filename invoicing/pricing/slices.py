"""A slice of a quantity that one rate prices: what every price model cuts a quantity into."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """The part of a quantity above ``from_quantity``, up to and including ``up_to`` (None: without bound)."""

    from_quantity: Fraction
    up_to: Fraction | None
    quantity: Fraction
    unit_amount_cents: Decimal
    flat_amount_cents: int

    @property
    def unrounded_amount_cents(self) -> Fraction:
        """The exact price of this part."""
        return self.quantity * Fraction(self.unit_amount_cents) + self.flat_amount_cents


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """What one slice costs: ``unit_amount_cents`` for each unit and ``flat_amount_cents`` once it is entered."""

    up_to: Fraction | None
    unit_amount_cents: Decimal
    flat_amount_cents: int = 0


def cut(quantity: Fraction, rates: Iterable[Rate]) -> Iterator[Slice]:
    """
    Cut a quantity at the bounds of rising rates; only what it enters is answered, and always the first.

    A bound is inclusive: a quantity equal to it has not entered what follows.
    """
    lower = Fraction(0)
    for position, rate in enumerate(rates):
        if position and quantity <= lower:
            return
        upper = quantity if rate.up_to is None else min(quantity, rate.up_to)
        yield Slice(
            from_quantity=lower,
            up_to=rate.up_to,
            quantity=upper - lower,
            unit_amount_cents=rate.unit_amount_cents,
            flat_amount_cents=rate.flat_amount_cents,
        )
        lower = upper
