"""The anticipated failures of payments."""

from billing_site.kernel import errors


class InvoiceNotOpen(errors.Conflict):
    """Only an open invoice is collected; ``extra`` tells its status."""

    code = "invoice_not_open"
    title = "Invoice is not open"


class InvoiceTakesNoPayment(errors.Conflict):
    """A draft, or an invoice given up, takes no payment; ``extra`` tells its status."""

    code = "invoice_takes_no_payment"
    title = "Invoice takes no payment"


class CurrencyMismatch(errors.Unprocessable):
    """The payment is in another currency than the invoice; nothing is converted."""

    code = "currency_mismatch"
    title = "Currency mismatch"


class ChannelDoesNotCharge(errors.Conflict):
    """The tenant's billing channel charges no payment methods."""

    code = "channel_does_not_charge"
    title = "Channel does not charge"


class NoPaymentMethod(errors.Conflict):
    """The tenant has no payment method that may be charged."""

    code = "no_payment_method"
    title = "No payment method"


class PaymentInProgress(errors.Conflict):
    """The invoice is being collected at this moment."""

    code = "payment_in_progress"
    title = "Payment in progress"


class PaymentDeclined(errors.DomainError):
    """The processor refused the charge; ``extra`` tells the attempt and the reason."""

    status = 402
    code = "payment_declined"
    title = "Payment declined"


class PaymentRequiresAction(errors.DomainError):
    """The bank wants the owner of the payment method to confirm; ``extra`` tells the attempt."""

    status = 402
    code = "payment_requires_action"
    title = "Payment requires the customer's action"


class PaymentUnresolved(errors.Unavailable):
    """The processor's answer is not known yet. The same request finds out, and never charges twice."""

    code = "payment_unresolved"
    title = "Payment unresolved"


class MalformedMessage(errors.Invalid):
    """A message that is signed, and still is no event."""

    code = "malformed_event"
    title = "Malformed event"
