"""
Reading the JSON of a price: strict types, and every fault noted with the pointer of its field.

JSON floats are refused everywhere: a rate is a decimal string, an amount an integer, a quantity either.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final, TypeVar

from billing_site.kernel.errors import FieldError, pointer_token

T = TypeVar("T")

_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?")
MAXIMUM_DECIMALS: Final = 12
MAXIMUM_WHOLE_DIGITS: Final = 18
MAXIMUM_CENTS: Final = 10**15

# Told apart from null, which some fields take.
_ABSENT: Final = object()


class PriceRefused(Exception):
    """A price definition breaks its rules; ``errors`` says where and how."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.pointer} {error.detail}" for error in errors))
        self.errors = tuple(errors)


class Fields:
    """
    One JSON object being read.

    A faulty field is noted and read as a harmless stand-in, so that all faults are told at once. Whoever made the first
    ``Fields`` must look at ``faults`` before using what was read.
    """

    def __init__(self, document: Mapping[str, object], pointer: str, faults: list[FieldError]) -> None:
        self._document = document
        self._pointer = pointer
        self._known: set[str] = set()
        self.faults = faults

    def fault(self, name: str, code: str, detail: str) -> None:
        """Note that a field breaks a rule."""
        self.faults.append(FieldError(f"{self._pointer}/{pointer_token(name)}", code, detail))

    def is_faulty(self, name: str) -> bool:
        """Whether a fault of this very field is noted."""
        return any(error.pointer == f"{self._pointer}/{pointer_token(name)}" for error in self.faults)

    def rate(self, name: str, *, default: Decimal | None = None) -> Decimal:
        """A price per unit: a decimal string in cents, not negative, at most 12 decimals."""
        value = self._take(name, default)
        if isinstance(value, Decimal):
            return value
        if not isinstance(value, str):
            self._wrong_type(name, value, 'a decimal string such as "0.0025"')
            return Decimal(0)
        return self._decimal(name, value)

    def cents(self, name: str, *, default: int | None = None) -> int:
        """An amount in minor units: a JSON integer, not negative."""
        value = self._take(name, default)
        return self._integer(name, value, maximum=MAXIMUM_CENTS)

    def optional_cents(self, name: str) -> int | None:
        """An amount in minor units, or None where it is absent or null."""
        self._known.add(name)
        return None if self._document.get(name) is None else self.cents(name)

    def quantity(self, name: str, *, default: Fraction | None = None) -> Fraction:
        """A number of units: a JSON integer or a decimal string, not negative."""
        value = self._take(name, default)
        if isinstance(value, Fraction):
            return value
        if isinstance(value, str):
            return Fraction(self._decimal(name, value))
        return Fraction(self._integer(name, value, maximum=10**MAXIMUM_WHOLE_DIGITS))

    def optional_quantity(self, name: str) -> Fraction | None:
        """A number of units, or None where null stands; absent is a fault."""
        if name in self._document and self._document[name] is None:
            self._known.add(name)
            return None
        return self.quantity(name)

    def choice(self, name: str, choices: Sequence[str], *, default: str | None = None) -> str | None:
        """One of some words; None where it is none of them."""
        value = self._take(name, default)
        if isinstance(value, str) and value in choices:
            return value
        if isinstance(value, str):
            self.fault(name, "invalid_choice", f"must be one of {', '.join(choices)}, not {_shown(value)}")
        else:
            self._wrong_type(name, value, f"one of {', '.join(choices)}")
        return None

    def objects(self, name: str, *, maximum: int) -> list["Fields"]:
        """A list of 1 to ``maximum`` objects, each read in turn."""
        value = self._take(name, None)
        if not isinstance(value, list):
            self._wrong_type(name, value, "a list of objects")
            return []
        if not 1 <= len(value) <= maximum:
            self.fault(name, "out_of_range", f"must have 1 to {maximum} entries, not {len(value)}")
            return []
        pointers = [f"{self._pointer}/{pointer_token(name)}/{position}" for position in range(len(value))]
        faults = [
            _type_fault(pointer, entry, "an object")
            for pointer, entry in zip(pointers, value, strict=True)
            if not isinstance(entry, Mapping)
        ]
        self.faults.extend(faults)
        # Rules between entries cannot be judged where one of them is none.
        return [] if faults else [Fields(entry, at, self.faults) for at, entry in zip(pointers, value, strict=True)]

    def require_one_of(self, first: str, second: str) -> None:
        """At least one of two fields must be there."""
        if first not in self._document and second not in self._document:
            self.fault(first, "required", f"is required unless {second} is given")

    def refuse_unknown(self) -> None:
        """Note every field that nobody asked for."""
        for name in self._document:
            if name not in self._known:
                self.fault(
                    str(name),
                    "unknown_field",
                    f"is not a field of this object; known: {', '.join(sorted(self._known))}",
                )

    def _take(self, name: str, default: T | None) -> object | T:
        """The field's value, its default where it is absent; absent without default is a fault."""
        self._known.add(name)
        value = self._document.get(name, _ABSENT)
        if value is not _ABSENT:
            return value
        if default is not None:
            return default
        if not self.is_faulty(name):
            self.fault(name, "required", "is required")
        return _ABSENT

    def _integer(self, name: str, value: object, *, maximum: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong_type(name, value, "an integer")
            return 0
        if value < 0:
            self.fault(name, "negative", f"must not be negative, as {_shown(value)} is")
        elif value > maximum:
            self.fault(name, "out_of_range", f"must be at most {maximum}")
        return value

    def _decimal(self, name: str, text: str) -> Decimal:
        """A decimal string without sign, exponent or leading zeros, within the digits that we keep."""
        match = _DECIMAL.fullmatch(text)
        if match is None:
            negative = text.startswith("-") and _DECIMAL.fullmatch(text[1:]) is not None
            rule = (
                ("negative", "must not be negative")
                if negative
                else ("not_a_decimal", 'must be a decimal string such as "0.0025"')
            )
            self.fault(name, rule[0], f"{rule[1]}, not {_shown(text)}")
            return Decimal(0)
        whole, decimals = match.groups()
        if len(decimals or "") > MAXIMUM_DECIMALS:
            self.fault(name, "too_many_decimals", f"may have at most {MAXIMUM_DECIMALS} decimals, not {_shown(text)}")
            return Decimal(0)
        if len(whole) > MAXIMUM_WHOLE_DIGITS:
            self.fault(name, "out_of_range", f"may have at most {MAXIMUM_WHOLE_DIGITS} digits before the point")
            return Decimal(0)
        return Decimal(text)

    def _wrong_type(self, name: str, value: object, wanted: str) -> None:
        # A field that is not there was noted as required already.
        if value is not _ABSENT:
            self.faults.append(_type_fault(f"{self._pointer}/{pointer_token(name)}", value, wanted))


def rate_text(rate: Decimal) -> str:
    """A rate as the API writes it: no exponent, no trailing zeros."""
    text = format(rate, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _type_fault(pointer: str, value: object, wanted: str) -> FieldError:
    return FieldError(pointer, "wrong_type", f"must be {wanted}, not {_shown(value)}")


def _shown(value: object) -> str:
    """The value in a sentence, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
