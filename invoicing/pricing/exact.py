"""Exact numbers as text: nothing is rounded on the way from an amount to what people read, unless it never ends."""

from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from billing_site.kernel import money

# A usage total may have 38 digits and a rate 12 decimals; a number that never ends is shown to 24 places.
_WIDE: Final = Context(prec=400)
_SHOWN_PLACES: Final = 24


def exact_text(value: Fraction) -> str:
    """The value as text that ``Fraction`` reads back: ``"5123.45"``, or ``"10/3"`` where no decimal is exact."""
    if _decimal_places(value) is None:
        return f"{value.numerator}/{value.denominator}"
    return decimal_text(value)


def decimal_text(value: Fraction) -> str:
    """The value as a decimal string without exponent or trailing zeros; one that never ends is rounded to 24 places."""
    places = _decimal_places(value)
    if places is None:
        places = _SHOWN_PLACES
    scaled = money.round_half_away(value * 10**places)
    text = format(Decimal(scaled).scaleb(-places, _WIDE), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def json_quantity(value: Fraction) -> int | str:
    """A quantity as JSON: an integer where it is whole, else a decimal string."""
    return value.numerator if value.denominator == 1 else decimal_text(value)


def _decimal_places(value: Fraction) -> int | None:
    """How many decimals write the value exactly; None where none do."""
    denominator, twos, fives = value.denominator, 0, 0
    while denominator % 2 == 0:
        denominator, twos = denominator // 2, twos + 1
    while denominator % 5 == 0:
        denominator, fives = denominator // 5, fives + 1
    return max(twos, fives) if denominator == 1 else None
