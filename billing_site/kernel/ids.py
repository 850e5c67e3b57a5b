"""
Public ids: opaque, prefixed, sortable by creation.

Objects of the upper floors carry a ULID (48 bits of milliseconds, 80 bits of chance) as their primary key. Ledger rows
keep BIGINT keys, for their size and their order; their public form is that number in the same alphabet.
"""

import secrets
import threading
import time
from typing import Final

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case: i, l, o and u are left out
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}
_ULID_LENGTH: Final = 26
_SERIAL_LENGTH: Final = 13
_RANDOM_BITS: Final = 80
_SERIAL_LIMIT: Final = 2**63


class _Sequence:
    """Two ids made in one millisecond by one process still sort in the order in which they were made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        with self._lock:
            same_millisecond = fresh >> _RANDOM_BITS <= self._last >> _RANDOM_BITS
            self._last = self._last + 1 + secrets.randbits(32) if same_millisecond else fresh
            return self._last


_sequence = _Sequence()


def new_id(prefix: str) -> str:
    """Make an id such as ``inv_01k9...``: the prefix and 26 characters that sort by creation."""
    return f"{prefix}_{_encode(_sequence.next(), _ULID_LENGTH)}"


def encode_serial(prefix: str, serial: int) -> str:
    """The public form of a BIGINT key, such as ``txn_000000000002s``; sorts as the number does."""
    if not 0 <= serial < _SERIAL_LIMIT:
        raise ValueError(f"{serial} is no positive BIGINT")
    return f"{prefix}_{_encode(serial, _SERIAL_LENGTH)}"


def decode_serial(prefix: str, public_id: str) -> int | None:
    """The BIGINT key behind a public id, or None where the text is no such id."""
    head, _, body = public_id.partition("_")
    if head != prefix or len(body) != _SERIAL_LENGTH or any(character not in _VALUES for character in body):
        return None
    serial = 0
    for character in body:
        serial = serial << 5 | _VALUES[character]
    return serial if serial < _SERIAL_LIMIT else None


def _encode(number: int, length: int) -> str:
    characters = [""] * length
    for position in range(length - 1, -1, -1):
        characters[position] = ALPHABET[number & 31]
        number >>= 5
    return "".join(characters)
