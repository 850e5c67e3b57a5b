"""Which refusals may be tried again."""

import pytest

from marketplaces.channels import stripe_declines


class TestIsRetryable:
    @pytest.mark.parametrize(
        ("codes", "advice_code", "expected"),
        [
            (("card_declined", "insufficient_funds"), "try_again_later", True),
            (("card_declined", "insufficient_funds"), "", True),
            (("card_declined", "generic_decline"), "do_not_try_again", False),
            (("card_declined", "lost_card"), "", False),
            (("card_declined", "lost_card"), "try_again_later", True),
            (("expired_card", "expired_card"), "confirm_card_data", False),
            (("expired_card", ""), "", False),
            (("card_declined", "a_code_of_tomorrow"), "", True),
        ],
    )
    def test_it_follows_the_advice_then_the_codes(
        self, codes: tuple[str, str], advice_code: str, *, expected: bool
    ) -> None:
        code, decline_code = codes
        retryable = stripe_declines.is_retryable(code=code, decline_code=decline_code, advice_code=advice_code)
        assert retryable is expected
