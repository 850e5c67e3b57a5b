"""
Money: integers in the minor unit of an ISO 4217 currency, and exact arithmetic on the way there.

Nothing here accepts a float: a rounding that nobody asked for is a cent that nobody can explain.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cache

import iso4217

from billing_site.kernel import errors


class UnknownCurrency(errors.Invalid):
    """The code is no ISO 4217 currency with a minor unit."""

    code = "unknown_currency"
    title = "Unknown currency"


@cache
def minor_unit_digits(currency: str) -> int:
    """
    How many decimal digits the minor unit of ``currency`` has (JPY 0, USD 2, KWD 3), from ISO 4217.

    Raises:
        UnknownCurrency: no such code, or one without a minor unit (gold, test codes).
    """
    try:
        digits = iso4217.Currency(currency).exponent
    except (ValueError, KeyError):
        digits = None
    if digits is None:
        raise UnknownCurrency(f"{currency!r} is not an ISO 4217 currency code in upper case")
    return int(digits)


def require_currency(currency: str) -> str:
    """Answer the code itself where it is a currency; raises ``UnknownCurrency`` where not."""
    minor_unit_digits(currency)
    return currency


def format_cents(amount_cents: int, currency: str) -> str:
    """Write minor units for people: 5787 USD as ``57.87 USD``, 1097 JPY as ``1,097 JPY``."""
    digits = minor_unit_digits(currency)
    sign = "-" if amount_cents < 0 else ""
    whole, part = divmod(abs(amount_cents), 10**digits)
    return f"{sign}{whole:,}{f'.{part:0{digits}d}' if digits else ''} {currency}"


def round_half_away(amount: Fraction | Decimal) -> int:
    """Round an exact amount of minor units to whole ones; halves go away from zero (0.5 to 1, -0.5 to -1)."""
    exact = Fraction(amount)
    whole = int(abs(exact) + Fraction(1, 2))
    return whole if exact >= 0 else -whole


def allocate(total: int, weights: Sequence[Fraction]) -> list[int]:
    """
    Split ``total`` over ``weights`` (none negative) so that the parts add up to it exactly.

    By the largest remainder: each part is its exact share rounded down, and what is left goes, one unit each, to the
    largest remainders; the earlier wins a tie. Without any weight, all goes to the first.
    """
    if not weights:
        if total:
            raise ValueError("nothing to allocate to")
        return []
    if total < 0:
        return [-part for part in allocate(-total, weights)]
    whole = sum(weights, Fraction(0))
    if whole == 0:
        return [total] + [0] * (len(weights) - 1)
    exact = [total * weight / whole for weight in weights]
    parts = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda index: (parts[index] - exact[index], index))
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts
