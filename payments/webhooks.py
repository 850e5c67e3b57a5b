"""
Messages that processors send: verified, stored, answered; worked off later, once each, in any order.

What is stored is the body exactly as it came. ``process_webhooks`` claims what is due; a message that fails again and
again is quarantined and does not hold up the others.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from django.conf import settings

from billing_site.kernel import database, retry
from billing_site.kernel import errors as kernel_errors
from marketplaces.channels import stripe, stripe_signatures
from payments import errors, stripe_events
from payments.models import MessageStatus, ProviderMessage

LARGEST_BODY_BYTES: Final = 1024 * 1024
POLICY: Final = retry.RetryPolicy(initial=timedelta(seconds=5), factor=3, maximum=timedelta(hours=1), attempts=12)
HOLD: Final = timedelta(minutes=5)
# A sweep ends while the claims it makes, all as of its start, are still far from running out.
SWEEP_SECONDS: Final = 120.0

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class WebhookReport:
    """What one sweep did; ``due`` is what is left for the next."""

    worked: int = 0
    processed: int = 0
    ignored: int = 0
    failed: int = 0
    due: int = 0
    quarantined: int = 0
    needs_person: bool = False


def receive_stripe(*, body: bytes, signature: str | None, now: datetime) -> None:
    """
    Verify a message of Stripe's on its raw bytes and store it, due at once. A repeated one changes nothing.

    Raises:
        kernel.errors.TooLarge: over 1 MiB.
        marketplaces.errors.InvalidSignature: not Stripe's, or not from now.
        errors.MalformedMessage: signed, and no event.
    """
    if len(body) > LARGEST_BODY_BYTES:
        raise kernel_errors.TooLarge(f"the body has {len(body)} bytes, at most {LARGEST_BODY_BYTES} are taken")
    stripe_signatures.verify(
        payload=body,
        header=signature,
        secrets=settings.STRIPE_WEBHOOK_SECRETS,
        now=now,
    )
    event_id, event_type, object_id = _read(body)
    message = ProviderMessage(
        provider=stripe.CODE,
        event_id=event_id,
        event_type=event_type,
        object_id=object_id,
        body=body.decode(),
        received_at=now,
        next_attempt_at=now,
    )
    # One statement and no transaction around it: the sender waits for this.
    ProviderMessage.objects.bulk_create([message], ignore_conflicts=True)


def process_webhooks(*, now: datetime, progress: Callable[[int], None] = lambda _done: None) -> WebhookReport:
    """
    Work off the messages that are due. Safe to run twice, and beside itself.

    Owns its transactions; none is open while a processor is asked.
    """
    report = WebhookReport()
    ends = time.monotonic() + SWEEP_SECONDS
    while time.monotonic() < ends:
        claimed = retry.claim_due(ProviderMessage.objects.all(), now=now, limit=1, hold=HOLD, policy=POLICY)
        if not claimed:
            break
        _count(report, _work(claimed[0], now))
        progress(report.worked)
    waiting = ProviderMessage.objects.filter(next_attempt_at__lte=now, quarantined_at=None)
    report.due = waiting.count()
    report.quarantined = ProviderMessage.objects.filter(quarantined_at__isnull=False).count()
    report.needs_person = report.quarantined > 0
    return report


def _work(message: ProviderMessage, now: datetime) -> str | None:
    """Work one message off; answers its new status, None when it failed or was another's."""
    try:
        reading = stripe_events.read(message)
        return database.retrying(partial(_apply, message, reading, now))
    except retry.ClaimLost:
        return None
    except Exception as error:  # noqa: BLE001  (logged and kept with the message)
        # Whatever is wrong with one message must not keep the others waiting; it is tried again, then quarantined.
        _log.exception("message %s (%s) failed", message.event_id, message.event_type)
        retry.release(message, now=now, policy=POLICY, error=f"{type(error).__name__}: {error}"[:2000])
        return None


def _apply(message: ProviderMessage, reading: stripe_events.Reading, now: datetime) -> str:
    with retry.holding(message) as held:
        ignored_reason = reading.apply(now)
        held.settle()
        held.status = MessageStatus.IGNORED if ignored_reason else MessageStatus.PROCESSED
        held.ignored_reason = ignored_reason[:500]
        held.processed_at = now
        held.save()
    return held.status


def _read(body: bytes) -> tuple[str, str, str]:
    """The event's id and type, and the id of the object it is about."""
    try:
        event = json.loads(body.decode())
    except (UnicodeDecodeError, ValueError) as error:
        raise errors.MalformedMessage("the body is not JSON in UTF-8") from error
    event_id, event_type = _text(event, "id"), _text(event, "type", longest=100)
    if not event_id or not event_type:
        raise errors.MalformedMessage("the body has no event id and type")
    data = event.get("data")
    return event_id, event_type, _text(data.get("object") if isinstance(data, dict) else None, "id")


def _text(container: Any, name: str, *, longest: int = 255) -> str:
    value = container.get(name) if isinstance(container, dict) else None
    return value if isinstance(value, str) and len(value) <= longest and "\x00" not in value else ""


def _count(report: WebhookReport, status: str | None) -> None:
    report.worked += 1
    if status == MessageStatus.PROCESSED:
        report.processed += 1
    elif status == MessageStatus.IGNORED:
        report.ignored += 1
    else:
        report.failed += 1
