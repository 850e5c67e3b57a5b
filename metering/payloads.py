"""
What the payload of a dead letter says of itself, and how it is read again when the letter is replayed.

A payload is the text as sent: an event of ours, a CloudEvent, a gateway record, or nothing that can be read at all.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from metering import hours, request_rollup, surrogates

_LONGEST_TYPE: Final = 100
_LONGEST_SOURCE: Final = 100
_GATEWAY: Final = "gateway"
_OLDEST: Final = timedelta(days=400)
_NEWEST: Final = timedelta(days=2)

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text: Final = msgspec.json.Decoder(str)
_moment: Final = msgspec.json.Decoder(datetime)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError, OverflowError)


@dataclass(frozen=True)
class Facts:
    """
    What a payload says of itself.

    ``event_hour`` is the hour of its timestamp, or of its arrival where it has none that is within 400 days before and
    2 days after. ``source`` and ``event_type`` are empty where it says none.
    """

    source: str
    event_type: str
    event_hour: int


def read_facts(payload: bytes, *, now: datetime) -> Facts:
    """Read what can be read; never fails, since what could not be read is what dead letters hold."""
    try:
        members = _members.decode(surrogates.replace_halves(payload))
    except _UNREADABLE:
        members = {}
    moment = _moment_in(members, "event_timestamp") or _moment_in(members, "time")
    is_plausible = moment is not None and now - _OLDEST <= moment <= now + _NEWEST
    is_record = "organization_id" in members and "tenant_id" not in members
    event_type = (
        request_rollup.EVENT_TYPE if is_record else _text_in(members, "event_type") or _text_in(members, "type")
    )
    return Facts(
        source=_GATEWAY if is_record else _text_in(members, "source")[:_LONGEST_SOURCE],
        event_type=event_type[:_LONGEST_TYPE],
        event_hour=hours.hour_of(moment if moment is not None and is_plausible else now),
    )


def _text_in(members: dict[str, msgspec.Raw], name: str) -> str:
    if name not in members:
        return ""
    try:
        text = _text.decode(members[name])
    except _UNREADABLE:
        return ""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _moment_in(members: dict[str, msgspec.Raw], name: str) -> datetime | None:
    if name not in members:
        return None
    try:
        moment = _moment.decode(members[name])
    except _UNREADABLE:
        return None
    return moment if moment.tzinfo is not None else None
