"""Exact numbers as text."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing.pricing import exact


class TestExactText:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (Fraction(0), "0"),
            (Fraction(1200), "1200"),
            (Fraction("5123.45"), "5123.45"),
            (Fraction(1, 10**12), "0.000000000001"),
            (Fraction(10, 3), "10/3"),
            (Fraction(-1, 8), "-0.125"),
            (Fraction(10**40), "1" + "0" * 40),
        ],
    )
    def test_writes_the_value(self, value: Fraction, text: str) -> None:
        assert exact.exact_text(value) == text

    @given(st.fractions())
    def test_is_read_back_unchanged(self, value: Fraction) -> None:
        assert Fraction(exact.exact_text(value)) == value


class TestDecimalText:
    def test_rounds_what_never_ends(self) -> None:
        assert exact.decimal_text(Fraction(2, 3)) == "0." + "6" * 23 + "7"


class TestJsonQuantity:
    @pytest.mark.parametrize(
        ("value", "json"), [(Fraction(3), 3), (Fraction("3.5"), "3.5"), (Fraction(10**20), 10**20)]
    )
    def test_keeps_whole_numbers_integers(self, value: Fraction, json: int | str) -> None:
        assert exact.json_quantity(value) == json
