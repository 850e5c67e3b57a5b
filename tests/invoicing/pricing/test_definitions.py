"""Reading prices: what makes no sense is refused, all of it at once, each fault at its place."""

from typing import Any

import pytest

from invoicing.pricing import definitions, reading

PER_UNIT = {"model": "per_unit", "unit_amount_cents": "1"}


def _faults(document: object) -> list[tuple[str, str]]:
    with pytest.raises(reading.PriceRefused) as refused:
        definitions.parse(document, pointer="/prices/0")
    return [(error.pointer.removeprefix("/prices/0"), error.code) for error in refused.value.errors]


def _tiers(*bounds: object) -> dict[str, Any]:
    return {"model": "graduated", "tiers": [{"up_to": bound, "unit_amount_cents": "1"} for bound in bounds]}


class TestParse:
    @pytest.mark.parametrize("document", [None, [], "per_unit", 5, True])
    def test_refuses_what_is_no_object(self, document: object) -> None:
        assert _faults(document) == [("", "wrong_type")]

    def test_refuses_a_price_without_model(self) -> None:
        assert _faults({}) == [("/model", "required")]

    @pytest.mark.parametrize(
        "model", ["volume", "package", "flat", "percentage", "graduated_percentage", "", "PER_UNIT"]
    )
    def test_refuses_a_model_that_is_not_offered_and_names_those_that_are(self, model: str) -> None:
        with pytest.raises(reading.PriceRefused) as refused:
            definitions.parse({"model": model}, pointer="/prices/0")

        (error,) = refused.value.errors
        assert (error.pointer, error.code) == ("/prices/0/model", "invalid_choice")
        assert "per_unit, graduated" in error.detail

    @pytest.mark.parametrize("model", [None, 1, ["per_unit"], {}])
    def test_refuses_a_model_that_is_no_word(self, model: object) -> None:
        assert _faults({"model": model}) == [("/model", "wrong_type")]

    @pytest.mark.parametrize(
        ("rate", "code"),
        [
            (300, "wrong_type"),
            (0.0025, "wrong_type"),
            (True, "wrong_type"),
            (None, "wrong_type"),
            ("-0.5", "negative"),
            ("-0", "negative"),
            ("", "not_a_decimal"),
            ("1e3", "not_a_decimal"),
            (".5", "not_a_decimal"),
            ("5.", "not_a_decimal"),
            ("05", "not_a_decimal"),
            ("1,5", "not_a_decimal"),
            (" 1", "not_a_decimal"),
            ("1\n", "not_a_decimal"),
            ("NaN", "not_a_decimal"),
            ("Infinity", "not_a_decimal"),
            ("\u0661", "not_a_decimal"),
            ("0.0000000000001", "too_many_decimals"),
            ("1" * 19, "out_of_range"),
        ],
    )
    def test_refuses_a_rate_that_is_no_decimal_string(self, rate: object, code: str) -> None:
        assert _faults({"model": "per_unit", "unit_amount_cents": rate}) == [("/unit_amount_cents", code)]

    def test_takes_twelve_decimals(self) -> None:
        price = definitions.parse({**PER_UNIT, "unit_amount_cents": "0.000000000001"}, pointer="")

        assert definitions.as_json(price)["unit_amount_cents"] == "0.000000000001"

    @pytest.mark.parametrize(
        ("field", "value", "code"),
        [
            ("unit_size", 0, "out_of_range"),
            ("unit_size", "0.0", "out_of_range"),
            ("unit_size", -1, "negative"),
            ("unit_size", 1.5, "wrong_type"),
            ("unit_rounding", "sideways", "invalid_choice"),
            ("unit_rounding", 1, "wrong_type"),
            ("included_quantity", -1, "negative"),
            ("included_quantity", False, "wrong_type"),
            ("minimum_cents", "100", "wrong_type"),
            ("minimum_cents", -1, "negative"),
            ("maximum_cents", 1.0, "wrong_type"),
            ("maximum_cents", 10**15 + 1, "out_of_range"),
            ("tiers", [], "unknown_field"),
            ("colour", "red", "unknown_field"),
            ("a/b~c", 1, "unknown_field"),
        ],
    )
    def test_refuses_a_faulty_field_at_its_place(self, field: str, value: object, code: str) -> None:
        place = field.replace("~", "~0").replace("/", "~1")

        assert _faults({**PER_UNIT, field: value}) == [(f"/{place}", code)]

    def test_refuses_a_minimum_over_the_maximum(self) -> None:
        assert _faults({**PER_UNIT, "minimum_cents": 2, "maximum_cents": 1}) == [("/maximum_cents", "out_of_range")]

    def test_takes_null_for_no_minimum(self) -> None:
        assert definitions.parse({**PER_UNIT, "minimum_cents": None}, pointer="").minimum_cents is None

    def test_tells_all_faults_at_once(self) -> None:
        faults = _faults({"model": "per_unit", "included_quantity": -1, "unit_size": "x", "colour": 1})

        assert faults == [
            ("/unit_amount_cents", "required"),
            ("/included_quantity", "negative"),
            ("/unit_size", "not_a_decimal"),
            ("/colour", "unknown_field"),
        ]


class TestTiers:
    @pytest.mark.parametrize("tiers", [None, {}, "x", 3])
    def test_refuses_what_is_no_list(self, tiers: object) -> None:
        assert _faults({"model": "graduated", "tiers": tiers}) == [("/tiers", "wrong_type")]

    def test_refuses_their_absence(self) -> None:
        assert _faults({"model": "graduated"}) == [("/tiers", "required")]

    def test_refuses_an_empty_list(self) -> None:
        assert _faults({"model": "graduated", "tiers": []}) == [("/tiers", "out_of_range")]

    def test_refuses_more_than_a_hundred(self) -> None:
        assert _faults(_tiers(*range(1, 101), None)) == [("/tiers", "out_of_range")]

    def test_refuses_an_entry_that_is_no_object(self) -> None:
        assert _faults({"model": "graduated", "tiers": [5, None]}) == [
            ("/tiers/0", "wrong_type"),
            ("/tiers/1", "wrong_type"),
        ]

    @pytest.mark.parametrize("bounds", [(10, 5, None), (10, 10, None), (10, "9.5", None)])
    def test_refuses_bounds_that_do_not_rise(self, bounds: tuple[object, ...]) -> None:
        assert _faults(_tiers(*bounds)) == [("/tiers/1/up_to", "not_rising")]

    def test_refuses_a_first_bound_of_zero(self) -> None:
        assert _faults(_tiers(0, None)) == [("/tiers/0/up_to", "not_rising")]

    def test_refuses_a_bounded_last_tier(self) -> None:
        assert _faults(_tiers(5, 10)) == [("/tiers/1/up_to", "last_tier_bounded")]

    def test_refuses_an_unbounded_tier_before_the_last(self) -> None:
        assert _faults(_tiers(None, None)) == [("/tiers/0/up_to", "tier_unbounded")]

    def test_refuses_a_missing_bound(self) -> None:
        assert _faults({"model": "graduated", "tiers": [{"unit_amount_cents": "1"}]}) == [
            ("/tiers/0/up_to", "required")
        ]

    def test_refuses_a_tier_without_amount(self) -> None:
        assert _faults({"model": "graduated", "tiers": [{"up_to": None}]}) == [
            ("/tiers/0/unit_amount_cents", "required")
        ]

    @pytest.mark.parametrize(
        ("field", "value", "code"),
        [
            ("unit_amount_cents", 1, "wrong_type"),
            ("unit_amount_cents", "-1", "negative"),
            ("flat_amount_cents", "1", "wrong_type"),
            ("flat_amount_cents", -1, "negative"),
            ("up_to", True, "wrong_type"),
            ("up_to", -3, "negative"),
            ("up_to", "ten", "not_a_decimal"),
            ("basis_points", 1, "unknown_field"),
        ],
    )
    def test_refuses_a_faulty_field_at_its_place(self, field: str, value: object, code: str) -> None:
        document = _tiers(10, 20, None)
        document["tiers"][1][field] = value

        faults = _faults(document)

        assert faults[0] == (f"/tiers/1/{field}", code)
        assert len(faults) == 1

    def test_takes_a_flat_fee_alone(self) -> None:
        price = definitions.parse(
            {"model": "graduated", "tiers": [{"up_to": None, "flat_amount_cents": 5}]}, pointer=""
        )

        assert definitions.as_json(price)["tiers"] == [
            {"up_to": None, "unit_amount_cents": "0", "flat_amount_cents": 5}
        ]
