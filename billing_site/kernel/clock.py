"""
The clock and the wire form of moments.

Time is an argument everywhere else: only views, tasks and commands ask ``now``, so that any moment can be replayed.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils import timezone

# RFC 3339 section 5.6, with the offset required; up to nine digits of fraction, of which PostgreSQL keeps six.
_INSTANT: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})",
    re.ASCII,
)


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return timezone.now()


def parse_instant(text: str) -> datetime:
    """
    Read an RFC 3339 moment, offset required, into aware UTC; digits beyond microseconds are cut.

    Raises:
        ValueError: the text is no such moment.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time with an offset, such as 2026-11-01T00:00:00Z")
    day, time, fraction, offset = match.groups()
    microseconds = int((fraction or "0")[:6].ljust(6, "0"))
    sign = "+00:00" if offset in "Zz" else offset
    try:
        return (datetime.fromisoformat(f"{day}T{time}{sign}") + timedelta(microseconds=microseconds)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a time that exists: {error}") from error


def format_instant(moment: datetime) -> str:
    """Write an aware moment as RFC 3339 in UTC with ``Z``; microseconds only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
