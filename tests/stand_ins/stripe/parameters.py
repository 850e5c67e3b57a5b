"""Form-encoded bodies with nested parameters, and what each endpoint takes of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl

from tests.stand_ins.stripe import problems

METADATA_KEYS = 50
METADATA_KEY_LENGTH = 40
METADATA_VALUE_LENGTH = 500

_STEP = re.compile(r"[^\[\]]+")


class Check(Protocol):
    """Turns the text of one parameter into its value, or refuses it."""

    def read(self, raw: object, name: str) -> object:
        """Return the value; raise the problem that Stripe would answer."""


@dataclass(frozen=True)
class Text:
    """A string, at most ``longest`` characters."""

    longest: int = 5000

    def read(self, raw: object, name: str) -> object:
        """Return the text; an empty one means "unset", as Stripe has it."""
        if not isinstance(raw, str):
            raise problems.invalid(f"Invalid string: {raw}", param=name)
        if len(raw) > self.longest:
            message = f"Invalid string: must be at most {self.longest} characters"
            raise problems.invalid(message, param=name, code="parameter_invalid_string_maximum_length")
        return raw or None


@dataclass(frozen=True)
class Integer:
    """A whole number in a range."""

    least: int = 0
    most: int = 10**12 - 1

    def read(self, raw: object, name: str) -> object:
        """Return the number."""
        if not isinstance(raw, str) or not re.fullmatch(r"-?[0-9]{1,18}", raw):
            raise problems.invalid(f"Invalid integer: {raw}", param=name, code="parameter_invalid_integer")
        value = int(raw)
        if value < self.least:
            message = f"This value must be greater than or equal to {self.least}."
            raise problems.invalid(message, param=name, code="parameter_invalid_integer")
        if value > self.most:
            message = f"Amount must be no more than {self.most}"
            raise problems.invalid(message, param=name, code="amount_too_large")
        return value


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: Sequence[str]

    def read(self, raw: object, name: str) -> object:
        """Return the word."""
        if raw not in self.words:
            raise problems.invalid(f"Invalid {name}: must be one of {', '.join(self.words)}", param=name)
        return raw


@dataclass(frozen=True)
class Flag:
    """True or false, or one of the words that stand for true."""

    words: Sequence[str] = ()

    def read(self, raw: object, name: str) -> object:
        """Return the flag or the word."""
        if raw in self.words:
            return raw
        if raw not in {"true", "false"}:
            raise problems.invalid(f"Invalid boolean: {raw}", param=name)
        return raw == "true"


@dataclass(frozen=True)
class Metadata:
    """Up to 50 pairs of strings."""

    def read(self, raw: object, name: str) -> object:
        """Return the pairs; an empty value unsets its key."""
        if raw == "":
            return {}
        if not isinstance(raw, dict):
            raise problems.invalid("Invalid object", param=name)
        if len(raw) > METADATA_KEYS:
            raise problems.invalid(f"Metadata can have up to {METADATA_KEYS} keys", param=name)
        for key, value in raw.items():
            if not isinstance(value, str) or len(value) > METADATA_VALUE_LENGTH or len(key) > METADATA_KEY_LENGTH:
                raise problems.invalid(
                    "Metadata keys have up to 40, values up to 500 characters", param=f"{name}[{key}]"
                )
        return raw


@dataclass(frozen=True)
class Texts:
    """A list of strings, one of ``words`` each when given."""

    words: Sequence[str] = ()

    def read(self, raw: object, name: str) -> object:
        """Return the list in its order."""
        if not isinstance(raw, dict):
            raise problems.invalid("Invalid array", param=name)
        values = list(raw.values())
        if any(not isinstance(value, str) or (self.words and value not in self.words) for value in values):
            raise problems.invalid(f"Invalid {name}", param=name)
        return values


@dataclass(frozen=True)
class Nested:
    """An object with parameters of its own."""

    members: Mapping[str, Check]
    required: Sequence[str] = ()

    def read(self, raw: object, name: str) -> object:
        """Return the object, checked as strictly as the outermost one."""
        if not isinstance(raw, dict):
            raise problems.invalid("Invalid object", param=name)
        return read_all(raw, self.members, self.required, prefix=name)


@dataclass(frozen=True)
class Timestamps:
    """A moment, or a range of them as ``[gt]``, ``[gte]``, ``[lt]``, ``[lte]``."""

    members: Mapping[str, Check] = field(
        default_factory=lambda: {bound: Integer(most=10**11) for bound in ("gt", "gte", "lt", "lte")}
    )

    def read(self, raw: object, name: str) -> object:
        """Return a mapping of bounds."""
        if isinstance(raw, dict):
            return read_all(raw, self.members, (), prefix=name)
        moment = Integer(most=10**11).read(raw, name)
        return {"gte": moment, "lte": moment}


PAGE: Mapping[str, Check] = {
    "limit": Integer(least=1, most=100),
    "starting_after": Text(),
    "ending_before": Text(),
}


def decode(form: str) -> dict[str, object]:
    """Decode ``a[b]=1&c[0]=2`` into nested dictionaries of strings."""
    decoded: dict[str, object] = {}
    for name, value in parse_qsl(form, keep_blank_values=True):
        _place(decoded, name, value)
    return decoded


def read_all(
    raw: Mapping[str, object], members: Mapping[str, Check], required: Sequence[str], *, prefix: str = ""
) -> dict[str, object]:
    """Check every parameter against ``members``; refuse what is unknown or missing."""

    def full(name: str) -> str:
        return f"{prefix}[{name}]" if prefix else name

    for name in raw:
        if name not in members:
            raise problems.unknown_parameter(full(name))
    for name in required:
        if raw.get(name, "") == "":
            raise problems.missing_parameter(full(name))
    return {name: members[name].read(value, full(name)) for name, value in raw.items()}


def within(bounds: Mapping[str, int], moment: int) -> bool:
    """Tell whether a moment lies in a range of ``gt``, ``gte``, ``lt``, ``lte``."""
    return (
        moment > bounds.get("gt", moment - 1)
        and moment >= bounds.get("gte", moment)
        and moment < bounds.get("lt", moment + 1)
        and moment <= bounds.get("lte", moment)
    )


def _place(decoded: dict[str, object], name: str, value: str) -> None:
    """Put one value where its bracketed name says."""
    path = _STEP.findall(name)
    if not path or ("[" in name and not re.fullmatch(r"[^\[\]]+(\[[^\[\]]*\])+", name)):
        raise problems.invalid(f"Invalid parameter name: {name}", param=name)
    if name.endswith("[]"):
        path.append("")
    target = decoded
    for step in path[:-1]:
        inner = target.setdefault(step, {})
        if not isinstance(inner, dict):
            raise problems.invalid(f"Parameter given twice in two shapes: {name}", param=name)
        target = inner
    last = path[-1] or str(len(target))
    if last in target:
        raise problems.invalid(f"Parameter given twice: {name}", param=name)
    target[last] = value
