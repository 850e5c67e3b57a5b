r"""
Halves of surrogate pairs in JSON: an escape such as ``\ud800`` without its other half is no character.

JSON's grammar allows it, msgspec and PostgreSQL refuse it. One event with such an escape must not spoil its batch, so
the batch is taken apart by a copy in which each half is replaced, byte for byte at the same places.
"""

import re
from typing import Final

_SUSPECT: Final = re.compile(rb"\\u[dD][89a-fA-F]")
# Every escape is matched, so that an escaped backslash before a u is not taken for the beginning of one.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_REPLACEMENT: Final = b"\\ufffd"


def replace_halves(text: bytes) -> bytes:
    """The JSON text with each half of a pair replaced by U+FFFD; as long as it was."""
    if _SUSPECT.search(text) is None:
        return text
    return _ESCAPE.sub(lambda escape: _REPLACEMENT if escape["half"] else escape[0], text)
