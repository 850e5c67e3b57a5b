"""The anticipated failures of invoicing."""

from billing_site.kernel import errors


class TenantNotFound(errors.NotFound):
    """There is no tenant with this code, or the key may not see it."""

    code = "tenant_not_found"
    title = "Tenant not found"


class TenantExists(errors.Conflict):
    """The code is taken by a tenant that says something else."""

    code = "tenant_exists"
    title = "Tenant exists"


class PlanNotFound(errors.NotFound):
    """There is no plan with this code."""

    code = "plan_not_found"
    title = "Plan not found"


class PlanExists(errors.Conflict):
    """The code is taken by a plan that says something else."""

    code = "plan_exists"
    title = "Plan exists"


class CatalogIsShared(errors.Forbidden):
    """The key is bound to one tenant; plans are sold to all."""

    code = "catalog_is_shared"
    title = "The catalogue is shared"


class SubscriptionNotFound(errors.NotFound):
    """There is no such subscription, or it is another tenant's."""

    code = "subscription_not_found"
    title = "Subscription not found"


class SubscriptionExists(errors.Conflict):
    """A living subscription of the tenant bills the same already; a second would bill it twice."""

    code = "subscription_exists"
    title = "Subscription exists"


class CurrencyMismatch(errors.Unprocessable):
    """The plan and the tenant have different currencies; nothing is converted."""

    code = "currency_mismatch"
    title = "Currency mismatch"


class InvoiceNotFound(errors.NotFound):
    """There is no such invoice, or it is another tenant's."""

    code = "invoice_not_found"
    title = "Invoice not found"


class InvoiceNotDraft(errors.Conflict):
    """Only a draft can be finalized."""

    code = "invoice_not_draft"
    title = "Invoice is not a draft"


class UsagePending(errors.Conflict):
    """Usage of the invoice's period is stored and not yet summarised; a moment later it will be."""

    code = "usage_pending"
    title = "Usage pending"


class DayNotOver(errors.Conflict):
    """A day is accrued when it is over."""

    code = "day_not_over"
    title = "Day is not over"


class PeriodEndsWithinDay(errors.Invalid):
    """The books count days in UTC; a period ends where a day does."""

    code = "period_ends_within_day"
    title = "Period ends within a day"


class RecognitionFailed(errors.Conflict):
    """A day of the book could not be earned, so its period cannot be closed."""

    code = "recognition_failed"
    title = "Recognition failed"


class AmountTooLarge(errors.Unprocessable):
    """The price of this quantity is beyond what an amount can hold."""

    code = "amount_too_large"
    title = "Amount too large"


class InvoiceNotPayable(errors.Conflict):
    """Only an open or uncollectible invoice takes a payment."""

    code = "invoice_not_payable"
    title = "Invoice is not payable"


class PaymentExceedsDue(errors.Conflict):
    """The payment is more than what is due; the excess belongs to the customer's credit."""

    code = "payment_exceeds_due"
    title = "Payment exceeds what is due"
