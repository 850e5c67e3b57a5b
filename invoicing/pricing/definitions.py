"""A price: its model and what every model may have beside it; read from JSON and written back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, cast, get_args

from billing_site.kernel.errors import FieldError
from invoicing.pricing import exact, graduated, per_unit, reading

UnitRounding = Literal["up", "down", "nearest", "none"]
Model = per_unit.PerUnit | graduated.Graduated

MODELS: Final[Mapping[str, Callable[[reading.Fields], Model]]] = {
    per_unit.PerUnit.name: per_unit.read,
    graduated.Graduated.name: graduated.read,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """
    How a quantity is priced.

    ``unit_size`` raw units make one priced unit, rounded by ``unit_rounding``; ``minimum_cents`` and ``maximum_cents``
    bound the line.
    """

    model: Model
    unit_size: Fraction = Fraction(1)
    unit_rounding: UnitRounding = "none"
    minimum_cents: int | None = None
    maximum_cents: int | None = None


def parse(document: object, *, pointer: str) -> Price:
    """
    Read a price without its ``meter`` from decoded JSON; ``pointer`` is where the document stands in the body.

    Raises:
        PriceRefused: with every fault and its pointer.
    """
    if not isinstance(document, Mapping):
        raise reading.PriceRefused([FieldError(pointer, "wrong_type", "must be an object")])
    faults: list[FieldError] = []
    fields = reading.Fields(document, pointer, faults)
    model_name = fields.choice("model", list(MODELS))
    if model_name is None:
        # Without a model nobody knows which fields belong.
        raise reading.PriceRefused(faults)
    price = Price(
        model=MODELS[model_name](fields),
        unit_size=fields.quantity("unit_size", default=Fraction(1)),
        unit_rounding=cast("UnitRounding", fields.choice("unit_rounding", get_args(UnitRounding), default="none")),
        minimum_cents=fields.optional_cents("minimum_cents"),
        maximum_cents=fields.optional_cents("maximum_cents"),
    )
    fields.refuse_unknown()
    _check_common(fields, price)
    if faults:
        raise reading.PriceRefused(faults)
    return price


def of_row(model: str, definition: Mapping[str, object]) -> Price:
    """The price of a stored row: what ``as_json`` wrote, with the model apart."""
    return parse({**definition, "model": model}, pointer="")


def as_json(price: Price) -> dict[str, object]:
    """The price as the API writes it, every default told; ``parse`` reads it back to an equal price."""
    return {
        "model": price.model.name,
        **price.model.as_json(),
        "unit_size": exact.json_quantity(price.unit_size),
        "unit_rounding": price.unit_rounding,
        "minimum_cents": price.minimum_cents,
        "maximum_cents": price.maximum_cents,
    }


def _check_common(fields: reading.Fields, price: Price) -> None:
    if price.unit_size == 0 and not fields.is_faulty("unit_size"):
        fields.fault("unit_size", "out_of_range", "must be over zero")
    if price.minimum_cents is None or price.maximum_cents is None:
        return
    if price.minimum_cents > price.maximum_cents and not fields.is_faulty("maximum_cents"):
        fields.fault("maximum_cents", "out_of_range", f"must not be under minimum_cents ({price.minimum_cents})")
