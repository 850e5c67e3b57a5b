"""Proration by days, exact until the line rounds."""

from fractions import Fraction

import pytest

from billing_site.kernel import money
from invoicing import proration


class TestProrate:
    @pytest.mark.parametrize(
        ("amount_cents", "days", "of_days", "rounded"),
        [(2000, 17, 31, 1097), (1000, 17, 31, 548), (2000, 31, 31, 2000), (2000, 0, 31, 0)],
    )
    def test_takes_a_share_by_days(self, amount_cents: int, days: int, of_days: int, rounded: int) -> None:
        assert money.round_half_away(proration.prorate(amount_cents, days=days, of_days=of_days)) == rounded

    def test_rounds_nothing(self) -> None:
        assert proration.prorate(2000, days=17, of_days=31) == Fraction(34000, 31)
