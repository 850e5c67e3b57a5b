"""What can go wrong between us and a channel, one class per fact."""

from datetime import timedelta

from billing_site.kernel import errors


class ChannelNotConfigured(errors.Unavailable):
    """The tenant's channel has no adapter, or no credentials, in this installation."""

    code = "channel_not_configured"
    title = "Channel not configured"


class ChannelUnavailable(errors.Unavailable):
    """The channel did not answer, or not with an answer; what was asked may or may not have been done."""

    code = "channel_unavailable"
    title = "Channel unavailable"

    def __init__(self, detail: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ChannelRefused(errors.Unprocessable):
    """The channel understood the request and will not do it."""

    code = "channel_refused"
    title = "Channel refused"


class PaymentMethodNotFound(errors.Unprocessable):
    """The processor knows no such payment method, or not for this customer."""

    code = "payment_method_unknown"
    title = "Payment method unknown to the processor"


class PaymentMethodRefused(errors.Unprocessable):
    """The card's issuer will not have it saved."""

    code = "payment_method_refused"
    title = "Payment method refused"


class InvalidSignature(errors.DomainError):
    """A message that does not prove where it comes from, or when it was sent."""

    status = 400
    code = "invalid_signature"
    title = "Invalid signature"
