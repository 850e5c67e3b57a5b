"""A part of a period's fee: by days, exactly. Rounding is left to the line that bills it."""

from fractions import Fraction


def prorate(amount_cents: int, *, days: int, of_days: int) -> Fraction:
    """The exact share of an amount for ``days`` out of ``of_days``."""
    return amount_cents * Fraction(days, of_days)
