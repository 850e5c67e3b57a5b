"""JSON Schema of prices and of rated tiers, for the OpenAPI document. What is taken is decided by ``definitions``."""

from typing import Any, Final, get_args

from invoicing.pricing import definitions, graduated

DECIMAL_STRING: Final[dict[str, Any]] = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,12})?$", "example": "0.0025"}
COUNT: Final[dict[str, Any]] = {"oneOf": [{"type": "integer", "minimum": 0}, DECIMAL_STRING]}
CENTS: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
PRICE_TIER: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["up_to"],
    "additionalProperties": False,
    "properties": {
        "up_to": {
            "oneOf": [*COUNT["oneOf"], {"type": "null"}],
            "description": "inclusive, strictly rising; null on the last tier alone",
        },
        "unit_amount_cents": DECIMAL_STRING,
        "flat_amount_cents": CENTS,
    },
}
PRICE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["meter", "model"],
    "additionalProperties": False,
    "properties": {
        "meter": {"type": "string", "description": "a meter's code, or an event type"},
        "model": {"type": "string", "enum": list(definitions.MODELS)},
        "unit_amount_cents": {**DECIMAL_STRING, "description": "per_unit: the price of one unit, in cents"},
        "included_quantity": {**COUNT, "description": "per_unit: units that cost nothing; default 0"},
        "tiers": {
            "type": "array",
            "items": PRICE_TIER,
            "minItems": 1,
            "maxItems": graduated.MAXIMUM_TIERS,
            "description": "graduated",
        },
        "unit_size": {**COUNT, "description": "raw units in one priced unit; default 1"},
        "unit_rounding": {"type": "string", "enum": list(get_args(definitions.UnitRounding)), "default": "none"},
        "minimum_cents": {"type": ["integer", "null"], "minimum": 0},
        "maximum_cents": {"type": ["integer", "null"], "minimum": 0},
    },
}
RATED_TIER: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["from", "up_to", "quantity", "unit_amount_cents", "flat_amount_cents", "amount_cents"],
    "properties": {
        "from": COUNT,
        "up_to": {"oneOf": [*COUNT["oneOf"], {"type": "null"}]},
        "quantity": COUNT,
        "unit_amount_cents": DECIMAL_STRING,
        "flat_amount_cents": {"type": "integer"},
        "amount_cents": {"type": "integer"},
    },
}
