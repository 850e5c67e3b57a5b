"""
From the columns of a file to the fields of an event.

A map is written as it is read: ``field=template`` pairs, where ``{Column}`` in a template stands for the row's value
and ``{row}`` for the number of the row, from 1:

    event_type=llm.input_tokens quantity={ContextTokens} idempotency_key={row}-input event_timestamp={TIMESTAMP}

A value with spaces is quoted, as in a shell. ``properties.region={Region}`` fills a property.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from metering import errors, schemas

ROW_NUMBER: Final = "row"
_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
_PROPERTY: Final = "properties."
_FIELDS: Final = frozenset(field.name for field in msgspec.structs.fields(schemas.EventIn)) - {"properties"}
_INTEGER: Final = re.compile(r"-?\d{1,30}", re.ASCII)


@dataclass(frozen=True)
class Map:
    """How one event is made of a row: a template for each field."""

    templates: Mapping[str, str]

    def columns(self) -> set[str]:
        """The columns that the templates name."""
        return {name for template in self.templates.values() for name in _PLACEHOLDER.findall(template)}

    def event_of(self, row: Mapping[str, str], *, time_zone: ZoneInfo | None) -> dict[str, Any]:
        """The members of the row's event, to be held to the rules like any other."""
        members: dict[str, Any] = {}
        for field, template in self.templates.items():
            text = _PLACEHOLDER.sub(lambda place: row[place.group(1)], template)
            if field.startswith(_PROPERTY):
                members.setdefault("properties", {})[field.removeprefix(_PROPERTY)] = text
            elif field == "quantity" and _INTEGER.fullmatch(text):
                members[field] = int(text)
            elif field == "void" and text.lower() in ("true", "false", ""):
                members[field] = text.lower() == "true"
            elif field == "corrects" and not text:
                continue  # a row that corrects nothing, among such that do
            elif field == "event_timestamp" and time_zone is not None:
                members[field] = _with_offset(text, time_zone)
            else:
                members[field] = text
        return members


def parse(text: str) -> Map:
    """
    Read a map as an operator writes it.

    Raises:
        errors.InvalidMapping: a part is no ``field=template``, or names no field of an event.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise errors.InvalidMapping(f"--map {text!r}: {error}") from error
    templates: dict[str, str] = {}
    for part in parts:
        field, separator, template = part.partition("=")
        if not separator or not template:
            raise errors.InvalidMapping(f"--map: {part!r} is not field=template, such as quantity={{Tokens}}")
        if field not in _FIELDS and not (field.startswith(_PROPERTY) and field != _PROPERTY):
            known = ", ".join(sorted(_FIELDS))
            raise errors.InvalidMapping(f"--map: an event has no field {field!r}; it has {known}, properties.NAME")
        if field in templates:
            raise errors.InvalidMapping(f"--map: {field} is given twice")
        templates[field] = template
    return Map(templates)


def by_name(columns: Sequence[str]) -> Map:
    """The map of a file whose columns are named like fields; any other name is refused by ``parse``'s rule."""
    unknown = [name for name in columns if name not in _FIELDS and not name.startswith(_PROPERTY)]
    if unknown:
        raise errors.InvalidMapping(
            f"the columns {', '.join(unknown)} are no fields of an event; say what to make of them with --map",
        )
    return Map({name: f"{{{name}}}" for name in columns})


def require_columns(maps: Iterable[Map], columns: Sequence[str]) -> None:
    """
    Make sure that each column that is named is there.

    Raises:
        errors.InvalidMapping: one is not.
    """
    missing = sorted(set().union(*(one.columns() for one in maps)) - set(columns) - {ROW_NUMBER})
    if missing:
        raise errors.InvalidMapping(f"the file has no column {', '.join(missing)}; it has {', '.join(columns)}")


def _with_offset(text: str, time_zone: ZoneInfo) -> str:
    """A time as RFC 3339: one without an offset is a time of the zone, and gets the zone's offset at that time."""
    text = text.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text  # the event's own rules say what is wrong with it
    if moment.tzinfo is not None:
        return text
    offset = f"{moment.replace(tzinfo=time_zone):%z}"
    return f"{text}{offset[:3]}:{offset[3:5]}"
