"""Is it Stripe's, and fresh?"""

from datetime import UTC, datetime, timedelta

import pytest
import stripe as sdk

from marketplaces import errors
from marketplaces.channels import stripe_signatures

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECRET = "whsec_one"
BODY = '{"id": "evt_1", "text": "ü"}'


def sign(secret: str = SECRET, *, at: datetime = NOW, body: str = BODY) -> str:
    return str(sdk.WebhookSignature.generate_signature_header(body, secret, int(at.timestamp())))


def verify(header: str | None, *, body: str = BODY, secrets: tuple[str, ...] = (SECRET,)) -> None:
    stripe_signatures.verify(payload=body.encode(), header=header, secrets=secrets, now=NOW)


class TestVerify:
    @pytest.mark.parametrize("seconds", [-300, -1, 0, 1, 300])
    def test_it_takes_what_is_signed_within_five_minutes(self, seconds: int) -> None:
        verify(sign(at=NOW + timedelta(seconds=seconds)))

    @pytest.mark.parametrize("seconds", [-301, 301, -86400, 86400])
    def test_it_refuses_the_past_and_the_future(self, seconds: int) -> None:
        with pytest.raises(errors.InvalidSignature):
            verify(sign(at=NOW + timedelta(seconds=seconds)))

    def test_it_takes_any_of_several_signatures_and_of_several_secrets(self) -> None:
        stamp, signature = sign().split(",")
        verify(f"{stamp},v1={'0' * 64},{signature},v0=whatever")
        verify(sign("whsec_old"), secrets=("whsec_new", "whsec_old"))

    @pytest.mark.parametrize("position", [0, 5, -1])
    def test_it_refuses_a_changed_byte(self, position: int) -> None:
        changed = bytearray(BODY.encode())
        changed[position] ^= 1
        with pytest.raises(errors.InvalidSignature):
            stripe_signatures.verify(payload=bytes(changed), header=sign(), secrets=(SECRET,), now=NOW)

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            "v1=abc",
            "t=,v1=abc",
            "t=now,v1=abc",
            "t=1,t=2,v1=abc",
            "t=\u0661,v1=abc",
            "t=9999999999999999999,v1=a",
            "v1",
            "=",
            ",,,",
            f"t={int(NOW.timestamp())},v1=é",
            f"t={int(NOW.timestamp())}",
            f"t={int(NOW.timestamp())},v0={'0' * 64}",
        ],
    )
    def test_it_refuses_a_broken_header(self, header: str | None) -> None:
        with pytest.raises(errors.InvalidSignature):
            verify(header)

    @pytest.mark.parametrize("secrets", [(), ("",), ("whsec_other",)])
    def test_it_refuses_without_the_secret(self, secrets: tuple[str, ...]) -> None:
        with pytest.raises(errors.InvalidSignature):
            verify(sign(), secrets=secrets)
        with pytest.raises(errors.InvalidSignature):
            verify(sign(""), secrets=secrets)
