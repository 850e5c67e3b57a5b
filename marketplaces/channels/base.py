"""
What a billing channel is, and what a payment processor is beside it.

A channel takes customers and usage. Charging a saved payment method is a capability of its own, so that no adapter
needs a method it cannot mean. Adapters translate; they hold no state and decide nothing about invoices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class Registration:
    """
    A tenant as it is first told to a channel.

    ``token`` is what a marketplace's sign-up hands over; processors have none. The same ``idempotency_key`` always
    comes with the same registration.
    """

    tenant_id: str
    name: str
    email: str
    idempotency_key: str
    country: str = ""
    token: str = ""


@dataclass(frozen=True, kw_only=True)
class ExternalCustomer:
    """A tenant as its channel calls it."""

    channel: str
    external_id: str


@dataclass(frozen=True, kw_only=True)
class UsageRecord:
    """The usage of one customer, dimension and hour; frozen before it is first sent."""

    record_id: str
    customer: ExternalCustomer
    dimension: str
    hour_starts_at: datetime
    quantity: int


UsageReceiptStatus = Literal[
    "accepted",
    "duplicate_same",
    "duplicate_conflict",
    "rejected",
    "expired",
    "indeterminate",
    "not_applicable",
]


@dataclass(frozen=True, kw_only=True)
class UsageReceipt:
    """What a channel said to one record; ``not_applicable`` where it bills no usage of its own."""

    record_id: str
    status: UsageReceiptStatus
    external_id: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class PlanChange:
    """A customer is to move to another plan."""

    change_id: str
    customer: ExternalCustomer
    plan_code: str
    effective_at: datetime


@dataclass(frozen=True, kw_only=True)
class PlanChangeOutcome:
    """What a channel does about a plan change; ``not_applicable`` where plans are ours alone."""

    status: Literal["applied", "awaiting_channel", "refused", "not_applicable"]
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class ExternalState:
    """A customer as its channel sees it now."""

    customer: ExternalCustomer
    status: Literal["active", "deleted", "unknown"]
    facts: Mapping[str, str] = field(default_factory=dict)


class BillingChannel(Protocol):
    """
    How a tenant's money and usage leave the house.

    Every method may raise ``errors.ChannelUnavailable`` (nothing is known: the same call may be made again) and
    ``errors.ChannelRefused`` (understood and declined).
    """

    def onboard_customer(self, registration: Registration) -> ExternalCustomer:
        """Make the tenant known to the channel, once for each idempotency key."""
        ...

    def report_usage(self, records: Sequence[UsageRecord]) -> Sequence[UsageReceipt]:
        """Send usage; one receipt for each record, in their order."""
        ...

    def process_plan_change(self, change: PlanChange) -> PlanChangeOutcome:
        """Tell the channel of a plan change that it must know or decide."""
        ...

    def get_external_state(self, customer: ExternalCustomer) -> ExternalState:
        """Ask how the channel sees the customer."""
        ...


@dataclass(frozen=True, kw_only=True)
class SaveMethodRequest:
    """A payment method that the customer has set up with the processor, to be kept for later charges."""

    customer: ExternalCustomer
    external_id: str
    idempotency_key: str


@dataclass(frozen=True, kw_only=True)
class SavedMethod:
    """A payment method that may be charged while its owner is away; never the number of a card."""

    external_id: str
    kind: str
    brand: str = ""
    last4: str = ""
    expires_month: int | None = None
    expires_year: int | None = None


@dataclass(frozen=True, kw_only=True)
class ChargeRequest:
    """
    One attempt to charge a saved method while its owner is away.

    Units: ``amount_cents`` is in the minor unit of ``currency`` as ISO 4217 has it; the adapter converts.
    Everything in it is frozen with the attempt: the same ``idempotency_key`` always comes with the same request.
    """

    idempotency_key: str
    attempt_id: str
    invoice_id: str
    tenant_id: str
    customer: ExternalCustomer
    payment_method: str
    amount_cents: int
    currency: str
    description: str


ChargeStatus = Literal["succeeded", "failed", "requires_action", "processing", "unknown"]


@dataclass(frozen=True, kw_only=True)
class ChargeOutcome:
    """
    How a charge stands.

    ``unknown`` says nothing about the money: it may have moved. ``code`` is then why, else the processor's reason of a
    failure, with the issuer's ``decline_code`` where there is one; ``retryable`` tells whether the same method may be
    tried again later. ``attempt_id`` is the attempt that the charge names, empty where it names none of ours.
    """

    status: ChargeStatus
    external_id: str = ""
    attempt_id: str = ""
    amount_cents: int = 0
    currency: str = ""
    code: str = ""
    decline_code: str = ""
    message: str = ""
    retryable: bool = False
    retry_after: timedelta | None = None


@runtime_checkable
class PaymentProcessor(Protocol):
    """A channel that can charge a saved payment method."""

    def save_payment_method(self, request: SaveMethodRequest) -> SavedMethod:
        """
        Attach the method to the customer, once for each idempotency key.

        Raises:
            errors.PaymentMethodNotFound: nobody knows it, or it is another customer's.
            errors.PaymentMethodRefused: its issuer will not have it.
            errors.ChannelUnavailable: no answer.
        """
        ...

    def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """Charge, once for each idempotency key. Never raises for what the outside does: that is an outcome."""
        ...

    def find_charge(self, request: ChargeRequest) -> ChargeOutcome | None:
        """Look for the charge that an earlier ``charge`` of this request may have made; None: there is none."""
        ...

    def get_charge(self, external_id: str) -> ChargeOutcome | None:
        """Ask how a charge stands now; None: the processor knows no such charge."""
        ...
