"""
Stripe, as a payment processor only: customers, saved payment methods and payment intents.

Invoices and the ledger are ours; Stripe charges what it is told. Every write carries an idempotency key of the caller,
so that a repeated call (ours or the library's own) answers as the first did.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import stripe as sdk

from marketplaces import errors
from marketplaces.channels import base, stripe_amounts, stripe_declines

CODE: Final = "stripe"
API_VERSION: Final = "2026-10-28.endive"
NETWORK_RETRIES: Final = 2
CONNECT_TIMEOUT_SECONDS: Final = 3.0
READ_TIMEOUT_SECONDS: Final = 20.0
PAGE_SIZE: Final = 100

sdk.enable_telemetry = False  # else it writes a file into the home folder and tells Stripe our latencies


class StripeChannel:
    """One Stripe account."""

    def __init__(
        self,
        *,
        api_key: str,
        api_base: str,
        environment: str,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        # A client built without max_network_retries would make none: the module's default is not inherited.
        self._client = sdk.StripeClient(
            api_key,
            stripe_version=API_VERSION,
            max_network_retries=NETWORK_RETRIES,
            base_addresses={"api": api_base},
            http_client=sdk.RequestsClient(timeout=(CONNECT_TIMEOUT_SECONDS, read_timeout_seconds)),
        )
        self._environment = environment

    def onboard_customer(self, registration: base.Registration) -> base.ExternalCustomer:
        """Make a customer; the same key answers the same one."""
        parameters: Any = {
            "name": registration.name,
            "metadata": {"tenant_id": registration.tenant_id, "environment": self._environment},
        }
        if registration.email:
            parameters["email"] = registration.email
        try:
            customer = self._client.v1.customers.create(parameters, _keyed(registration.idempotency_key))
        except sdk.StripeError as error:
            raise _refusal(error) from error
        return base.ExternalCustomer(channel=CODE, external_id=customer.id)

    def report_usage(self, records: Sequence[base.UsageRecord]) -> Sequence[base.UsageReceipt]:
        """Stripe bills no usage here: our invoices hold it."""
        return [base.UsageReceipt(record_id=record.record_id, status="not_applicable") for record in records]

    def process_plan_change(self, change: base.PlanChange) -> base.PlanChangeOutcome:
        """Plans are ours; Stripe knows none."""
        return base.PlanChangeOutcome(status="not_applicable")

    def get_external_state(self, customer: base.ExternalCustomer) -> base.ExternalState:
        """Ask whether the customer is still there."""
        try:
            found = self._client.v1.customers.retrieve(customer.external_id)
        except sdk.InvalidRequestError as error:
            if error.code == "resource_missing":
                return base.ExternalState(customer=customer, status="unknown")
            raise _refusal(error) from error
        except sdk.StripeError as error:
            raise _refusal(error) from error
        if getattr(found, "deleted", False):
            return base.ExternalState(customer=customer, status="deleted")
        facts = {"name": found.name or "", "email": found.email or ""}
        return base.ExternalState(customer=customer, status="active", facts=facts)

    def save_payment_method(self, request: base.SaveMethodRequest) -> base.SavedMethod:
        """Attach the method to the customer, whom its owner allowed us to charge."""
        customer_id = request.customer.external_id
        try:
            method = self._client.v1.payment_methods.attach(
                request.external_id,
                {"customer": customer_id},
                _keyed(request.idempotency_key),
            )
        except sdk.CardError as error:
            raise _card_refusal(error) from error
        except sdk.InvalidRequestError as error:
            method = self._attached_before(request, error)
        except sdk.StripeError as error:
            raise _refusal(error) from error
        return _as_saved(method)

    def charge(self, request: base.ChargeRequest) -> base.ChargeOutcome:
        """Create and confirm a payment intent in one call."""
        try:
            amount = stripe_amounts.to_stripe(request.amount_cents, request.currency)
        except errors.ChannelRefused as error:
            return base.ChargeOutcome(status="failed", code=error.code, message=error.detail)
        parameters: Any = {
            "amount": amount,
            "currency": request.currency.lower(),
            "customer": request.customer.external_id,
            "payment_method": request.payment_method,
            "off_session": True,
            "confirm": True,
            # Off session nobody is there to be redirected.
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "description": request.description,
            "metadata": {
                "tenant_id": request.tenant_id,
                "invoice_id": request.invoice_id,
                "attempt_id": request.attempt_id,
                "environment": self._environment,
            },
        }
        try:
            intent = self._client.v1.payment_intents.create(parameters, _keyed(request.idempotency_key))
        except sdk.StripeError as error:
            return self._failure(error)
        return self._as_outcome(intent)

    def find_charge(self, request: base.ChargeRequest) -> base.ChargeOutcome | None:
        """
        Look through the customer's payment intents, newest first, for the one that names the attempt.

        Stripe's search would be shorter and lags by up to a minute; the list is up to date.
        """
        parameters: Any = {"customer": request.customer.external_id, "limit": PAGE_SIZE}
        try:
            for intent in self._client.v1.payment_intents.list(parameters).auto_paging_iter():
                outcome = self._as_outcome(intent)
                if outcome.attempt_id == request.attempt_id:
                    # One that was never confirmed has charged nobody; the same key confirms it.
                    return None if outcome.status == "unknown" else outcome
        except sdk.InvalidRequestError as error:
            if error.code == "resource_missing":
                return None
            # The question was refused, not the charge, which may have been made.
            return base.ChargeOutcome(status="unknown", **_reason(error))
        except sdk.StripeError as error:
            return base.ChargeOutcome(status="unknown", **_reason(error))
        return None

    def get_charge(self, external_id: str) -> base.ChargeOutcome | None:
        """Ask for a payment intent as it stands now."""
        try:
            intent = self._client.v1.payment_intents.retrieve(external_id)
        except sdk.InvalidRequestError as error:
            if error.code == "resource_missing":
                return None
            return base.ChargeOutcome(status="unknown", **_reason(error))
        except sdk.StripeError as error:
            return base.ChargeOutcome(status="unknown", **_reason(error))
        return self._as_outcome(intent)

    def _attached_before(self, request: base.SaveMethodRequest, error: sdk.InvalidRequestError) -> sdk.PaymentMethod:
        """Find the method after a refusal: one that is already the customer's needs no attaching."""
        try:
            method = self._client.v1.payment_methods.retrieve(request.external_id)
        except sdk.InvalidRequestError as missing:
            raise errors.PaymentMethodNotFound(
                f"Stripe knows no payment method {request.external_id!r} of ours: {error.user_message}",
            ) from missing
        except sdk.StripeError as unanswered:
            raise _refusal(unanswered) from unanswered
        if method.customer != request.customer.external_id:
            raise errors.PaymentMethodNotFound(
                f"{request.external_id!r} cannot be attached to this customer: {error.user_message}",
            ) from error
        return method

    def _as_outcome(self, intent: sdk.PaymentIntent) -> base.ChargeOutcome:
        metadata: Mapping[str, str] = intent.metadata.to_dict()
        ours = metadata.get("environment") == self._environment
        told: dict[str, Any] = {
            "external_id": intent.id,
            "attempt_id": metadata.get("attempt_id", "") if ours else "",
            "currency": intent.currency.upper(),
        }
        if intent.status == "succeeded":
            received = stripe_amounts.from_stripe(intent.amount_received, told["currency"])
            return base.ChargeOutcome(status="succeeded", amount_cents=received, **told)
        told["amount_cents"] = stripe_amounts.from_stripe(intent.amount, told["currency"])
        if intent.status in {"processing", "requires_capture"}:
            return base.ChargeOutcome(status="processing", **told)
        if intent.status == "requires_action":
            return base.ChargeOutcome(status="requires_action", code="authentication_required", **told)
        if intent.status == "canceled":
            return base.ChargeOutcome(status="failed", code="canceled", retryable=True, **told)
        if intent.last_payment_error is None:
            return base.ChargeOutcome(status="unknown", code=intent.status, **told)
        return _declined(intent.last_payment_error, told)

    def _failure(self, error: sdk.StripeError) -> base.ChargeOutcome:
        """What an error of ``charge`` says about the money."""
        if isinstance(error, sdk.CardError):
            return self._card_failure(error)
        if isinstance(error, sdk.InvalidRequestError):
            # Refused before anything was tried; asking again would be refused again.
            return base.ChargeOutcome(status="failed", **_reason(error))
        return base.ChargeOutcome(status="unknown", **_reason(error))

    def _card_failure(self, error: sdk.CardError) -> base.ChargeOutcome:
        refused = error.error
        intent = getattr(refused, "payment_intent", None)
        if intent is not None:
            return self._as_outcome(intent)
        # An answer without the intent it should carry still says that the card was refused.
        return _declined(refused, {})


def _declined(refused: Any, told: dict[str, Any]) -> base.ChargeOutcome:
    code = getattr(refused, "code", None) or "card_declined"
    decline_code = getattr(refused, "decline_code", None) or ""
    told |= {
        "code": code,
        "decline_code": decline_code,
        "message": getattr(refused, "message", None) or "",
    }
    if code == "authentication_required" or decline_code == "authentication_required":
        return base.ChargeOutcome(status="requires_action", **told)
    retryable = stripe_declines.is_retryable(
        code=code,
        decline_code=decline_code,
        advice_code=getattr(refused, "advice_code", None) or "",
    )
    return base.ChargeOutcome(status="failed", retryable=retryable, **told)


def _as_saved(method: sdk.PaymentMethod) -> base.SavedMethod:
    card = getattr(method, "card", None)
    if card is None:
        return base.SavedMethod(external_id=method.id, kind=method.type)
    return base.SavedMethod(
        external_id=method.id,
        kind=method.type,
        brand=card.brand,
        last4=card.last4 or "",
        expires_month=card.exp_month,
        expires_year=card.exp_year,
    )


def _keyed(idempotency_key: str) -> Any:
    return {"idempotency_key": idempotency_key}


def _reason(error: sdk.StripeError) -> dict[str, Any]:
    """Why, as members of an outcome."""
    told: dict[str, Any] = {"code": _code_of(error), "message": _text_of(error)}
    if isinstance(error, sdk.RateLimitError):
        told["retry_after"] = _retry_after(error)
    return told


def _code_of(error: sdk.StripeError) -> str:
    if isinstance(error, sdk.RateLimitError):
        return "rate_limited"
    if isinstance(error, sdk.APIConnectionError):
        return "no_connection"
    if isinstance(error, sdk.AuthenticationError | sdk.PermissionError):
        return "credentials_refused"
    if isinstance(error, sdk.IdempotencyError):
        return "idempotency_conflict"
    # The library leaves ``code`` empty on its general APIError, though the body has one.
    told = getattr(error.error, "code", None) if error.error is not None else None
    return error.code or told or ("invalid_request" if isinstance(error, sdk.InvalidRequestError) else "no_answer")


def _text_of(error: sdk.StripeError) -> str:
    request = f" (request {error.request_id})" if error.request_id else ""
    return f"{error.user_message or type(error).__name__}{request}"[:500]


def _retry_after(error: sdk.StripeError) -> timedelta | None:
    told = (error.headers or {}).get("Retry-After", "")
    return timedelta(seconds=int(told)) if told.isascii() and told.isdecimal() else None


def _card_refusal(error: sdk.CardError) -> errors.PaymentMethodRefused:
    told = {
        "processor_code": error.code or "",
        "decline_code": getattr(error.error, "decline_code", None) or "",
    }
    return errors.PaymentMethodRefused(f"the card was refused: {error.user_message}", extra=told)


def _refusal(error: sdk.StripeError) -> errors.ChannelRefused | errors.ChannelUnavailable:
    """The domain error for a call that is not a charge."""
    if isinstance(error, sdk.InvalidRequestError):
        return errors.ChannelRefused(f"Stripe refused: {_text_of(error)}", extra={"processor_code": _code_of(error)})
    return errors.ChannelUnavailable(
        f"Stripe did not answer: {_code_of(error)}: {_text_of(error)}",
        retry_after=_retry_after(error),
    )
