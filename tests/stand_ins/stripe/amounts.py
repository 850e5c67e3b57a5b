"""The least Stripe charges in each currency, in its smallest unit."""

from collections.abc import Mapping

_FIFTY = dict.fromkeys(("usd", "eur", "aud", "brl", "cad", "chf", "nzd", "sgd", "inr"), 50)
_TWO = dict.fromkeys(("aed", "myr", "pln", "ron"), 200)

MINIMUM: Mapping[str, int] = {
    **_FIFTY,
    **_TWO,
    "gbp": 30,
    "dkk": 250,
    "nok": 300,
    "sek": 300,
    "hkd": 400,
    "mxn": 1000,
    "thb": 1000,
    "czk": 1500,
    "jpy": 50,
    "krw": 50,
    "huf": 17500,
}
# Sent with two decimals that must be zero, though the currency has none.
WHOLE_HUNDREDS = frozenset({"isk", "ugx"})
# Sent in thousandths, the last digit zero.
WHOLE_TENS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
