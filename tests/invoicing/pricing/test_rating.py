"""Rating: the worked cases that customers check by hand, and what holds for every price and quantity."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing.pricing import definitions, exact, rating


def _price(**document: object) -> definitions.Price:
    return definitions.parse(document, pointer="/price")


def _graduated(*tiers: tuple[int | str | None, str, int], **rest: object) -> definitions.Price:
    rows = [{"up_to": u, "unit_amount_cents": r, "flat_amount_cents": f} for u, r, f in tiers]
    return _price(model="graduated", tiers=rows, **rest)


FREE_THEN_RISING = _graduated((5, "0", 0), (10, "200", 0), (None, "300", 0))
WITH_FLAT_FEES = _graduated((5, "0", 100), (10, "100", 200), (None, "200", 0))

rates = st.decimals(min_value=0, max_value=10_000, places=6).map(lambda rate: format(rate, "f"))
quantities = st.integers(min_value=0, max_value=10**12) | st.decimals(min_value=0, max_value=10**9, places=6)


@st.composite
def per_unit_prices(draw: st.DrawFn) -> definitions.Price:
    return _price(model="per_unit", unit_amount_cents=draw(rates), included_quantity=draw(st.integers(0, 1000)))


@st.composite
def graduated_prices(draw: st.DrawFn, flat_fees: st.SearchStrategy[int] = st.integers(0, 10_000)) -> definitions.Price:  # noqa: B008  (a strategy is immutable)
    bounds: list[int | None] = [*sorted(draw(st.sets(st.integers(1, 10**9), max_size=5)))]
    return _graduated(*((bound, draw(rates), draw(flat_fees)) for bound in [*bounds, None]))


prices = per_unit_prices() | graduated_prices()


class TestWorkedCases:
    @pytest.mark.parametrize(
        ("rate", "quantity", "amount_cents", "unrounded"),
        [
            ("0.0025", 1_200_000, 3_000, "3000"),
            ("512.345", 10, 5_123, "5123.45"),
            ("0.5", 1, 1, "0.5"),
        ],
    )
    def test_prices_every_unit(self, rate: str, quantity: int, amount_cents: int, unrounded: str) -> None:
        line = rating.rate(_price(model="per_unit", unit_amount_cents=rate), quantity)

        assert line.amount_cents == amount_cents
        assert exact.exact_text(line.unrounded_amount_cents) == unrounded

    @pytest.mark.parametrize(("quantity", "amount_cents"), [(0, 0), (5, 0), (7, 400), (10, 1_000), (11, 1_300)])
    def test_prices_each_tier_for_itself(self, quantity: int, amount_cents: int) -> None:
        assert rating.rate(FREE_THEN_RISING, quantity).amount_cents == amount_cents

    @pytest.mark.parametrize(("quantity", "amount_cents"), [(0, 100), (3, 100), (5, 100), (7, 500), (12, 1_200)])
    def test_charges_flat_fees_of_tiers_entered(self, quantity: int, amount_cents: int) -> None:
        assert rating.rate(WITH_FLAT_FEES, quantity).amount_cents == amount_cents

    def test_rounds_units_up_before_pricing(self) -> None:
        price = _price(model="per_unit", unit_amount_cents="1000", unit_size=1000, unit_rounding="up")

        assert rating.rate(price, 1_400).amount_cents == 2_000

    def test_prices_the_traced_month(self) -> None:
        millions = {"model": "per_unit", "unit_size": 1_000_000}

        assert rating.rate(_price(**millions, unit_amount_cents="300"), 18_059_974).amount_cents == 5_418
        assert rating.rate(_price(**millions, unit_amount_cents="1500"), 245_896).amount_cents == 369


class TestRate:
    def test_takes_a_bound_as_inside_its_tier_and_anything_past_it_as_outside(self) -> None:
        price = _graduated((100, "0", 0), (None, "10", 0))

        assert rating.rate(price, 100).amount_cents == 0
        assert rating.rate(price, Decimal("100.5")).amount_cents == 5

    def test_bills_nothing_of_what_is_included(self) -> None:
        price = _price(model="per_unit", unit_amount_cents="2", included_quantity=100)

        assert [rating.rate(price, quantity).amount_cents for quantity in (0, 100, 101)] == [0, 0, 2]

    def test_counts_included_units_after_conversion(self) -> None:
        price = _price(model="per_unit", unit_amount_cents="100", unit_size=1024, included_quantity="1.5")

        assert rating.rate(price, 1024 * 2).amount_cents == 50

    @pytest.mark.parametrize(
        ("unit_rounding", "amount_cents"),
        [("up", 300), ("down", 200), ("nearest", 300), ("none", 250)],
    )
    def test_rounds_units_as_told(self, unit_rounding: str, amount_cents: int) -> None:
        price = _price(model="per_unit", unit_amount_cents="100", unit_size=10, unit_rounding=unit_rounding)

        assert rating.rate(price, 25).amount_cents == amount_cents

    def test_keeps_thirds_exact(self) -> None:
        line = rating.rate(_price(model="per_unit", unit_amount_cents="10", unit_size=3), 1)

        assert line.unrounded_amount_cents == Fraction(10, 3)
        assert line.amount_cents == 3
        assert exact.exact_text(line.unrounded_amount_cents) == "10/3"

    def test_raises_a_line_to_its_minimum(self) -> None:
        price = _graduated((10, "1", 0), (None, "2", 0), minimum_cents=500)

        assert rating.rate(price, 0).amount_cents == 500
        assert rating.rate(price, 15).amount_cents == 500
        assert rating.rate(price, 1_000).amount_cents == 1_990

    def test_lowers_a_line_to_its_maximum(self) -> None:
        price = _price(model="per_unit", unit_amount_cents="1", maximum_cents=500)

        assert [rating.rate(price, quantity).amount_cents for quantity in (499, 500, 501)] == [499, 500, 500]

    def test_rounds_the_line_once_and_not_its_tiers(self) -> None:
        line = rating.rate(_graduated((1, "0.5", 0), (2, "0.5", 0), (None, "0.5", 0)), 3)

        assert line.amount_cents == 2
        assert [tier.amount_cents for tier in line.tiers] == [1, 1, 0]

    def test_tells_only_the_tiers_that_are_entered(self) -> None:
        assert [tier.up_to for tier in rating.rate(FREE_THEN_RISING, 7).tiers] == [5, 10]
        assert [tier.quantity for tier in rating.rate(FREE_THEN_RISING, 0).tiers] == [0]

    def test_writes_a_tier_as_the_api_does(self) -> None:
        line = rating.rate(_graduated((1_000_000, "0.0025", 0), (None, "0.002", 0)), 1_200_000)

        assert line.amount_cents == 2_900
        assert line.tiers[0].as_json() == {
            "from": 0,
            "up_to": 1_000_000,
            "quantity": 1_000_000,
            "unit_amount_cents": "0.0025",
            "flat_amount_cents": 0,
            "amount_cents": 2_500,
        }

    def test_refuses_a_negative_quantity(self) -> None:
        with pytest.raises(ValueError, match="negative"):
            rating.rate(FREE_THEN_RISING, -1)

    def test_stays_exact_far_beyond_floats_and_default_decimals(self) -> None:
        price = _price(model="per_unit", unit_amount_cents="0.000000000001")

        assert rating.rate(price, 10**38 + 10**12).amount_cents == 10**26 + 1


class TestProperties:
    @given(price=prices, quantity=quantities)
    def test_is_never_negative(self, price: definitions.Price, quantity: int | Decimal) -> None:
        assert rating.rate(price, quantity).amount_cents >= 0

    @given(price=prices, quantity=quantities, more=quantities)
    def test_never_falls_as_quantity_rises(
        self, price: definitions.Price, quantity: int | Decimal, more: int | Decimal
    ) -> None:
        higher = Fraction(quantity) + Fraction(more)

        assert rating.rate(price, higher).amount_cents >= rating.rate(price, quantity).amount_cents

    @given(price=prices, quantity=quantities)
    def test_has_tiers_that_add_up_to_the_line(self, price: definitions.Price, quantity: int | Decimal) -> None:
        line = rating.rate(price, quantity)

        assert sum(tier.amount_cents for tier in line.tiers) == line.amount_cents
        assert sum(tier.quantity for tier in line.tiers) == line.quantity
        assert sum(tier.unrounded_amount_cents for tier in line.tiers) == line.unrounded_amount_cents

    @given(price=prices, quantity=quantities)
    def test_is_within_half_a_cent_of_the_exact_amount(self, price: definitions.Price, quantity: int | Decimal) -> None:
        line = rating.rate(price, quantity)

        assert abs(line.amount_cents - line.unrounded_amount_cents) <= Fraction(1, 2)

    @given(price=graduated_prices(flat_fees=st.just(0)), quantity=quantities)
    def test_is_continuous_where_no_flat_fee_enters(self, price: definitions.Price, quantity: int | Decimal) -> None:
        step = Fraction(1, 10**9)
        before = rating.rate(price, Fraction(quantity)).unrounded_amount_cents
        after = rating.rate(price, Fraction(quantity) + step).unrounded_amount_cents

        assert after - before <= step * 10_000

    @given(price=prices, deltas=st.lists(st.integers(0, 10**9), max_size=8))
    def test_adds_up_over_the_deltas_of_a_period(self, price: definitions.Price, deltas: list[int]) -> None:
        running, billed = 0, rating.rate(price, 0).amount_cents
        for delta in deltas:
            billed += rating.rate(price, running + delta).amount_cents - rating.rate(price, running).amount_cents
            running += delta

        assert billed == rating.rate(price, sum(deltas)).amount_cents

    @given(price=prices)
    def test_reads_back_what_it_writes(self, price: definitions.Price) -> None:
        assert definitions.parse(definitions.as_json(price), pointer="") == price
