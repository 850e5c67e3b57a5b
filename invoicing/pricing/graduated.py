"""``graduated``: each tier prices only the part of the quantity that lies in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, Final

from invoicing.pricing import exact, reading, slices

MAXIMUM_TIERS: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Graduated:
    """Rising tiers, the last without bound, so that every quantity has a price."""

    name: ClassVar[str] = "graduated"
    # The line has no one rate of its own: its tiers tell theirs.
    unit_amount_cents: ClassVar[None] = None
    tiers: tuple[slices.Rate, ...]

    def slices(self, quantity: Fraction) -> Iterator[slices.Slice]:
        """The tiers that the quantity enters; the first is entered at zero already."""
        return slices.cut(quantity, self.tiers)

    def as_json(self) -> Mapping[str, object]:
        """The fields of this model, with every default told."""
        return {"tiers": [_tier_as_json(tier) for tier in self.tiers]}


def read(fields: reading.Fields) -> Graduated:
    """Read the fields of this model; faults are noted in ``fields``."""
    return Graduated(tiers=read_tiers(fields))


def read_tiers(fields: reading.Fields) -> tuple[slices.Rate, ...]:
    """Read ``tiers``: strictly rising bounds, ``null`` on the last alone, in each at least one of the two amounts."""
    tiers = fields.objects("tiers", maximum=MAXIMUM_TIERS)
    bounds = [tier.optional_quantity("up_to") for tier in tiers]
    for tier in tiers:
        tier.require_one_of("unit_amount_cents", "flat_amount_cents")
    read = tuple(
        slices.Rate(
            up_to=bound,
            unit_amount_cents=tier.rate("unit_amount_cents", default=Decimal(0)),
            flat_amount_cents=tier.cents("flat_amount_cents", default=0),
        )
        for tier, bound in zip(tiers, bounds, strict=True)
    )
    for tier in tiers:
        tier.refuse_unknown()
    _check_bounds(tiers, bounds)
    return read


def _check_bounds(tiers: Sequence[reading.Fields], bounds: Sequence[Fraction | None]) -> None:
    """Every quantity must lie in exactly one tier."""
    lower = Fraction(0)
    for position, (tier, bound) in enumerate(zip(tiers, bounds, strict=True)):
        if tier.is_faulty("up_to"):
            continue
        if position == len(tiers) - 1:
            if bound is not None:
                tier.fault(
                    "up_to", "last_tier_bounded", "must be null on the last tier, so that every quantity has a price"
                )
        elif bound is None:
            tier.fault("up_to", "tier_unbounded", "may be null on the last tier alone")
        elif bound <= lower:
            tier.fault("up_to", "not_rising", f"must be over the bound before it ({exact.decimal_text(lower)})")
        else:
            lower = bound


def _tier_as_json(tier: slices.Rate) -> Mapping[str, object]:
    return {
        "up_to": None if tier.up_to is None else exact.json_quantity(tier.up_to),
        "unit_amount_cents": reading.rate_text(tier.unit_amount_cents),
        "flat_amount_cents": tier.flat_amount_cents,
    }
