"""
Our minor units and Stripe's, which differ in a few currencies.

Ours are those of ISO 4217. Stripe takes some currencies in whole units that ISO divides, and some with two decimals
(which must be zero) that ISO does not.
"""

from typing import Final

from billing_site.kernel import money
from marketplaces import errors

_WHOLE: Final = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"],
)
_SENT_WITH_TWO_DECIMALS: Final = frozenset({"ISK", "UGX"})
_THOUSANDTHS: Final = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})


def to_stripe(amount_cents: int, currency: str) -> int:
    """
    Convert an amount for sending.

    Raises:
        errors.ChannelRefused: the amount has a part that Stripe cannot carry in this currency.
    """
    numerator, denominator = _ratio(currency)
    amount, rest = divmod(amount_cents * numerator, denominator)
    if rest or (currency in _THOUSANDTHS and amount % 10):
        raise errors.ChannelRefused(f"Stripe cannot charge exactly {money.format_cents(amount_cents, currency)}")
    return amount


def from_stripe(amount: int, currency: str) -> int:
    """
    Convert an amount that Stripe told.

    Raises:
        errors.ChannelRefused: Stripe told a fraction of the currency's minor unit.
    """
    numerator, denominator = _ratio(currency)
    amount_cents, rest = divmod(amount * denominator, numerator)
    if rest:
        raise errors.ChannelRefused(f"Stripe told {amount} of {currency}, which has no such fraction")
    return amount_cents


def _ratio(currency: str) -> tuple[int, int]:
    """By what to multiply and divide our amount to get Stripe's."""
    theirs = 0 if currency in _WHOLE else 2 if currency in _SENT_WITH_TWO_DECIMALS else None
    if theirs is None:
        return 1, 1
    ours = money.minor_unit_digits(currency)
    return (10 ** (theirs - ours), 1) if theirs >= ours else (1, 10 ** (ours - theirs))
