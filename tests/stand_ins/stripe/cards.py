"""The test payment methods that Stripe documents, and what each does when attached or charged."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Ending(Enum):
    """How a charge of a card ends."""

    SUCCEEDS = "succeeds"
    DECLINES = "declines"
    NEEDS_AUTHENTICATION = "needs authentication"


@dataclass(frozen=True)
class Decline:
    """What the issuer says."""

    code: str
    message: str
    decline_code: str | None = None
    advice_code: str | None = None


@dataclass(frozen=True)
class Card:
    """One test card. A card that declines cannot be attached to a customer, unless ``attaches``."""

    last4: str
    brand: str = "visa"
    decline: Decline | None = None
    attaches: bool = True
    needs_authentication: bool = False

    def ending(self) -> Ending:
        """Tell how a charge of it ends."""
        if self.decline is not None:
            return Ending.DECLINES
        return Ending.NEEDS_AUTHENTICATION if self.needs_authentication else Ending.SUCCEEDS


def _refusing(last4: str, decline_code: str, advice_code: str, message: str) -> Card:
    decline = Decline(code="card_declined", decline_code=decline_code, advice_code=advice_code, message=message)
    return Card(last4=last4, decline=decline, attaches=False)


def _wrong(last4: str, code: str, advice_code: str, message: str) -> Card:
    decline = Decline(code=code, decline_code=code, advice_code=advice_code, message=message)
    return Card(last4=last4, decline=decline, attaches=False)


_GENERIC = _refusing("0002", "generic_decline", "try_again_later", "Your card was declined.")
_AUTHENTICATION = Decline(
    code="authentication_required",
    decline_code="authentication_required",
    message="Your card was declined. This transaction requires authentication.",
)

CARDS: Mapping[str, Card] = {
    "pm_card_visa": Card(last4="4242"),
    "pm_card_mastercard": Card(last4="4444", brand="mastercard"),
    "pm_card_amex": Card(last4="8431", brand="amex"),
    "pm_card_visa_chargeDeclined": _GENERIC,
    "pm_card_chargeDeclined": _GENERIC,
    "pm_card_visa_chargeDeclinedInsufficientFunds": _refusing(
        "9995", "insufficient_funds", "try_again_later", "Your card has insufficient funds."
    ),
    "pm_card_visa_chargeDeclinedLostCard": _refusing(
        "9987", "lost_card", "do_not_try_again", "Your card was declined."
    ),
    "pm_card_visa_chargeDeclinedStolenCard": _refusing(
        "9979", "stolen_card", "do_not_try_again", "Your card was declined."
    ),
    "pm_card_chargeDeclinedExpiredCard": _wrong("0069", "expired_card", "confirm_card_data", "Your card has expired."),
    "pm_card_chargeDeclinedIncorrectCvc": _wrong(
        "0127", "incorrect_cvc", "confirm_card_data", "Your card's security code is incorrect."
    ),
    "pm_card_chargeDeclinedProcessingError": _wrong(
        "0119",
        "processing_error",
        "try_again_later",
        "An error occurred while processing your card. Try again in a little bit.",
    ),
    "pm_card_chargeCustomerFail": Card(last4="0341", decline=_GENERIC.decline, attaches=True),
    "pm_card_authenticationRequired": Card(last4="3184", needs_authentication=True),
}


def authentication_decline() -> Decline:
    """Return what an off-session charge of a card that wants its owner present is answered."""
    return _AUTHENTICATION


def find(name: str) -> Card | None:
    """Return the test card of this name, if Stripe has one."""
    return CARDS.get(name)
