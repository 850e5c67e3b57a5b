"""Money: exact, whole, and by ISO 4217."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel import money


class TestMinorUnitDigits:
    @pytest.mark.parametrize(("currency", "digits"), [("USD", 2), ("JPY", 0), ("CLP", 0), ("BHD", 3), ("KWD", 3)])
    def test_follows_iso_4217(self, currency: str, digits: int) -> None:
        assert money.minor_unit_digits(currency) == digits

    @pytest.mark.parametrize("currency", ["usd", "XXX", "XAU", "USDT", "", "U$D"])
    def test_refuses_what_has_no_minor_unit(self, currency: str) -> None:
        with pytest.raises(money.UnknownCurrency):
            money.minor_unit_digits(currency)


class TestFormatCents:
    @pytest.mark.parametrize(
        ("cents", "currency", "text"),
        [
            (5787, "USD", "57.87 USD"),
            (-5, "USD", "-0.05 USD"),
            (1097, "JPY", "1,097 JPY"),
            (1050, "BHD", "1.050 BHD"),
            (123456789, "EUR", "1,234,567.89 EUR"),
        ],
    )
    def test_writes_for_people(self, cents: int, currency: str, text: str) -> None:
        assert money.format_cents(cents, currency) == text


class TestRoundHalfAway:
    @pytest.mark.parametrize(
        ("amount", "rounded"),
        [("0.5", 1), ("-0.5", -1), ("1.4999999999999", 1), ("5123.45", 5123), ("887.5", 888), ("0", 0), ("-1.5", -2)],
    )
    def test_rounds_halves_away_from_zero(self, amount: str, rounded: int) -> None:
        assert money.round_half_away(Decimal(amount)) == rounded
        assert money.round_half_away(Fraction(amount)) == rounded


class TestAllocate:
    @given(
        st.integers(-(10**12), 10**12),
        st.lists(st.fractions(min_value=0, max_value=10**9), min_size=1, max_size=12),
    )
    def test_adds_up_and_is_off_by_less_than_one(self, total: int, weights: list[Fraction]) -> None:
        parts = money.allocate(total, weights)
        assert sum(parts) == total
        whole = sum(weights, Fraction(0))
        if whole:
            for part, weight in zip(parts, weights, strict=True):
                assert abs(part - total * weight / whole) < 1

    def test_gives_the_rest_to_the_largest_remainders(self) -> None:
        assert money.allocate(100, [Fraction(1), Fraction(1), Fraction(1)]) == [34, 33, 33]
        assert money.allocate(-100, [Fraction(1), Fraction(2)]) == [-33, -67]

    def test_gives_all_to_the_first_where_nothing_weighs(self) -> None:
        assert money.allocate(7, [Fraction(0), Fraction(0)]) == [7, 0]

    def test_refuses_to_lose_an_amount(self) -> None:
        assert money.allocate(0, []) == []
        with pytest.raises(ValueError, match="nothing to allocate to"):
            money.allocate(1, [])
