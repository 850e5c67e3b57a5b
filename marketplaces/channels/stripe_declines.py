"""Which refusals of a card may be tried again with the same card."""

from typing import Final

# A new payment method is needed: trying again cannot succeed, and the networks fine those who do.
HARD: Final = frozenset(
    {
        "incorrect_number",
        "lost_card",
        "stolen_card",
        "pickup_card",
        "revocation_of_authorization",
        "revocation_of_all_authorizations",
        "highest_risk_level",
        "transaction_not_allowed",
    },
)
# The card's data must be mended first.
WRONG_DATA: Final = frozenset({"expired_card", "incorrect_cvc", "invalid_expiry_month", "invalid_expiry_year"})


def is_retryable(*, code: str, decline_code: str, advice_code: str) -> bool:
    """
    Tell whether the same method may be charged again later.

    The advice outranks the codes; a code that nobody has documented counts as a soft refusal.
    """
    if advice_code:
        return advice_code == "try_again_later"
    return not {code, decline_code} & (HARD | WRONG_DATA)
