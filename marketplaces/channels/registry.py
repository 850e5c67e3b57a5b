"""Which adapter serves a channel."""

from functools import lru_cache
from typing import Final

from django.conf import settings

from marketplaces import errors
from marketplaces.channels import base, manual, stripe

CHARGING_CHANNELS: Final = (stripe.CODE,)


def get_channel(code: str) -> base.BillingChannel:
    """
    Return the adapter of a channel.

    Raises:
        errors.ChannelNotConfigured: this installation has no adapter, or no credentials, for it.
    """
    if code == manual.CODE:
        return manual.ManualChannel()
    if code == stripe.CODE:
        return _stripe()
    raise errors.ChannelNotConfigured(f"the billing channel {code!r} is not served by this installation")


def get_payment_processor(code: str) -> base.PaymentProcessor:
    """
    Return the payment processor behind a channel.

    Raises:
        errors.ChannelNotConfigured: the channel charges nobody, or has no credentials here.
    """
    channel = get_channel(code)
    if not isinstance(channel, base.PaymentProcessor):
        raise errors.ChannelNotConfigured(f"the billing channel {code!r} charges no payment methods")
    return channel


def is_configured(code: str) -> bool:
    """Tell whether this installation can charge through the channel."""
    return code == stripe.CODE and bool(settings.STRIPE_API_KEY)


def _stripe() -> stripe.StripeChannel:
    if not settings.STRIPE_API_KEY:
        raise errors.ChannelNotConfigured("STRIPE_API_KEY is not set, so nothing is collected through Stripe")
    return _stripe_client(settings.STRIPE_API_KEY, settings.STRIPE_API_BASE, settings.ENVIRONMENT)


@lru_cache(maxsize=4)
def _stripe_client(api_key: str, api_base: str, environment: str) -> stripe.StripeChannel:
    """One client for a process: it keeps its connections open, one for each thread."""
    return stripe.StripeChannel(api_key=api_key, api_base=api_base, environment=environment)
