"""
Is this message Stripe's, and fresh?

Written here and not taken from Stripe's library, which reads the clock itself and lets messages from the future pass.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from marketplaces import errors

TOLERANCE: Final = timedelta(seconds=300)


def verify(*, payload: bytes, header: str | None, secrets: Sequence[str], now: datetime) -> None:
    """
    Check the ``Stripe-Signature`` of a body exactly as it came over the wire.

    ``secrets`` are several while one is rolled over; any ``v1`` that fits any of them is proof enough.

    Raises:
        errors.InvalidSignature: no header or a broken one, no signature that fits, or over 300 s old or ahead.
    """
    stamp, signatures = _parse(header)
    signed = str(stamp).encode() + b"." + payload
    expected = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets if secret]
    # Every pair is compared, each in the same time, so that nothing is learned from how long a refusal takes.
    matches = [hmac.compare_digest(mine, theirs) for mine in expected for theirs in signatures]
    if not any(matches):
        raise errors.InvalidSignature("no v1 signature of the Stripe-Signature header fits the body")
    if abs(now.timestamp() - stamp) > TOLERANCE.total_seconds():
        raise errors.InvalidSignature(
            f"the signature is more than {TOLERANCE.total_seconds():.0f} s away from now: check the clock",
        )


def _parse(header: str | None) -> tuple[int, list[str]]:
    if not header:
        raise errors.InvalidSignature("the Stripe-Signature header is missing")
    pairs = [part.partition("=")[::2] for part in header.split(",")]
    stamps = [value for name, value in pairs if name.strip() == "t"]
    if len(stamps) != 1 or not stamps[0].isascii() or not stamps[0].isdecimal() or len(stamps[0]) > 12:
        raise errors.InvalidSignature("the Stripe-Signature header has no time")
    signatures = [value for name, value in pairs if name.strip() == "v1" and value.isascii()]
    return int(stamps[0]), signatures
