"""``per_unit``: one rate for every unit above what is included."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar

from invoicing.pricing import exact, reading, slices


@dataclass(frozen=True, kw_only=True, slots=True)
class PerUnit:
    """``unit_amount_cents`` for each unit above ``included_quantity``."""

    name: ClassVar[str] = "per_unit"
    unit_amount_cents: Decimal
    included_quantity: Fraction = Fraction(0)

    def slices(self, quantity: Fraction) -> Iterator[slices.Slice]:
        """What is included, for nothing, and the rest at the rate."""
        beyond = slices.Rate(up_to=None, unit_amount_cents=self.unit_amount_cents)
        if not self.included_quantity:
            return slices.cut(quantity, [beyond])
        included = slices.Rate(up_to=self.included_quantity, unit_amount_cents=Decimal(0))
        return slices.cut(quantity, [included, beyond])

    def as_json(self) -> Mapping[str, object]:
        """The fields of this model, with every default told."""
        return {
            "unit_amount_cents": reading.rate_text(self.unit_amount_cents),
            "included_quantity": exact.json_quantity(self.included_quantity),
        }


def read(fields: reading.Fields) -> PerUnit:
    """Read the fields of this model; faults are noted in ``fields``."""
    return PerUnit(
        unit_amount_cents=fields.rate("unit_amount_cents"),
        included_quantity=fields.quantity("included_quantity", default=Fraction(0)),
    )
