"""
What each of Stripe's events means to us.

An event is a hint: it may be late, repeated or out of order, so the object that it names is asked for as it stands now,
and that is what is applied. The same end is reached whichever events came, and how often.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from marketplaces import errors as channel_errors
from marketplaces.channels import base, registry, stripe
from payments import attempts, collection
from payments.models import PaymentAttempt, ProviderMessage

_CHARGE_EVENTS: Final = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.requires_action",
        "payment_intent.canceled",
    },
)


@dataclass(frozen=True)
class Reading:
    """
    What a message comes to, after the outside was asked.

    ``apply`` writes it in the caller's transaction and answers why it was ignored, empty when it was not.
    """

    apply: Callable[[datetime], str]


def read(message: ProviderMessage) -> Reading:
    """
    Ask what has to be asked; must not run inside a transaction.

    Raises:
        marketplaces.errors.ChannelUnavailable: the processor does not tell now; try again.
    """
    if message.event_type not in _CHARGE_EVENTS:
        return _ignored(f"events of type {message.event_type} are not used")
    outcome = registry.get_payment_processor(stripe.CODE).get_charge(message.object_id)
    if outcome is None:
        return _ignored(f"Stripe knows no payment intent {message.object_id}")
    if outcome.status == "unknown" and not outcome.external_id:
        raise channel_errors.ChannelUnavailable(f"{outcome.code}: {outcome.message}")
    return _charge(outcome)


def _charge(outcome: base.ChargeOutcome) -> Reading:
    if not outcome.attempt_id:
        return _ignored(f"payment intent {outcome.external_id} was not made by this installation")
    attempt = PaymentAttempt.objects.filter(pk=outcome.attempt_id).first()
    if attempt is None:
        return _ignored(f"payment intent {outcome.external_id} names an attempt that is not ours: {outcome.attempt_id}")

    def apply(now: datetime) -> str:
        applied = attempts.apply_outcome(attempt_id=attempt.pk, outcome=outcome, now=now)
        collection.follow_attempt(attempt=applied, now=now)
        return ""

    return Reading(apply)


def _ignored(reason: str) -> Reading:
    return Reading(lambda _now: reason)
