"""Payments over HTTP: parse, one call, render."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import permissions, status, views
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import access, api, clock, idempotency, problems
from billing_site.kernel import errors as kernel_errors
from billing_site.kernel.serializers import ProblemSerializer, as_invalid
from invoicing import errors as invoicing_errors
from invoicing.models import Invoice
from invoicing.serializers import InvoiceSerializer
from payments import collection, errors, filters, models, payment_methods, recording, serializers, webhooks
from payments.journal import MANUAL

# The clocks of banks and ours differ; a transfer of tomorrow is a mistake, and so is one of the last century.
_CLOCK_SKEW: Final = timedelta(hours=1)
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)


class PaymentsEndpoint(api.ListEndpoint):
    """``/v1/payments``."""

    queryset = models.Payment.objects.all()
    serializer_class = serializers.PaymentSerializer
    filterset_class = filters.PaymentFilter

    @extend_schema(summary="List payments")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        summary="Record a bank transfer",
        description="With an invoice, it settles what is due there and credits the tenant with the rest. Without one, "
        "it waits among the unapplied receipts.",
        request=serializers.NewPayment,
        responses={201: serializers.PaymentSerializer},
    )
    @idempotency.idempotent
    def post(self, request: Request) -> Response:
        """The payment, posted to the ledger."""
        body = self.body(serializers.NewPayment)
        self.require_tenant(body["tenant_id"], invoicing_errors.TenantNotFound)
        now = clock.now()
        _require_of_our_time(body["received_at"], now)
        receipt = recording.Receipt(channel=MANUAL, **body)
        payment = recording.record_transfer(receipt=receipt, now=now)
        return Response(serializers.PaymentSerializer(payment).data, status=status.HTTP_201_CREATED)


class PaymentMethodsEndpoint(api.ListEndpoint):
    """``/v1/payment-methods``."""

    queryset = models.PaymentMethod.objects.all()
    serializer_class = serializers.PaymentMethodSerializer
    filterset_class = filters.PaymentMethodFilter

    @extend_schema(summary="List payment methods")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        summary="Save a payment method",
        description="Attaches a method of the processor to the tenant, who is made known there first. The first one is "
        "the default, which invoices are charged to; what waited for a method is collected next.",
        request=serializers.NewPaymentMethod,
        responses={201: serializers.PaymentMethodSerializer},
    )
    @idempotency.idempotent_around_calls
    def post(self, request: Request) -> Response:
        """The method as saved; 422 where the processor will not have it."""
        body = self.body(serializers.NewPaymentMethod)
        self.require_tenant(body["tenant_id"], invoicing_errors.TenantNotFound)
        request_key = _request_key(request)
        made = payment_methods.find_method(request_key=request_key)
        if made is not None and _is_other_offer(made, body):
            raise _reused(request)
        offer = payment_methods.Offer(
            tenant_id=body["tenant_id"],
            external_id=body["processor_payment_method_id"],
            is_default=body["default"],
            request_key=request_key,
        )
        method = payment_methods.save_payment_method(offer=offer, now=clock.now())
        return Response(serializers.PaymentMethodSerializer(method).data, status=status.HTTP_201_CREATED)


class PayInvoiceEndpoint(api.Endpoint):
    """``/v1/invoices/{id}/pay``."""

    scopes: ClassVar[Mapping[str, str]] = {"POST": "billing:write"}

    @extend_schema(
        summary="Collect an invoice now",
        description="Charges the tenant's default payment method. 202 while the processor is at it; 503 where its "
        "answer is not known yet: the same request with the same key finds out, and never charges twice.",
        request=None,
        responses={
            200: InvoiceSerializer,
            202: InvoiceSerializer,
            (402, problems.CONTENT_TYPE): OpenApiResponse(ProblemSerializer, description="the charge was refused"),
            (503, problems.CONTENT_TYPE): OpenApiResponse(ProblemSerializer, description="the outcome is not known"),
        },
    )
    @idempotency.idempotent_around_calls
    def post(self, request: Request, invoice_id: str) -> Response:
        """The invoice, paid; 402 where the charge was refused, 409 where it is not open."""
        self.body(serializers.NoFields)
        invoice = self._invoice(invoice_id)
        request_key = _request_key(request)
        made = collection.find_attempt(request_key=request_key)
        if made is not None and made.invoice_id != invoice.pk:
            raise _reused(request)
        attempt = collection.pay_invoice(invoice=invoice, request_key=request_key, now=clock.now())
        return self._answer(attempt, is_replay=made is not None)

    def _invoice(self, invoice_id: str) -> Invoice:
        visible = self.restrict(Invoice.objects.select_related("tenant").prefetch_related("lines"))
        invoice = visible.filter(pk=invoice_id).first()
        if invoice is None:
            raise invoicing_errors.InvoiceNotFound(f"no invoice {invoice_id!r}")
        return invoice

    def _answer(self, attempt: models.PaymentAttempt, *, is_replay: bool) -> Response:
        """What became of the attempt; a refusal is answered from its row as it was the first time."""
        headers = {"Idempotent-Replayed": "true"} if is_replay else {}
        refusal = _refusal_of(attempt)
        if refusal is not None:
            return _problem(self.request, refusal, headers)
        invoice = self._invoice(attempt.invoice_id)
        succeeded = attempt.status == models.AttemptStatus.SUCCEEDED
        code = status.HTTP_200_OK if succeeded else status.HTTP_202_ACCEPTED
        return Response(InvoiceSerializer(invoice).data, status=code, headers=headers)


class StripeWebhookEndpoint(views.APIView):
    """``/webhooks/stripe``. No key: the signature says who sends."""

    authentication_classes = ()
    permission_classes = (permissions.AllowAny,)
    parser_classes = ()
    schema = AutoSchema()  # plain: none of what holds under /v1 holds here

    @extend_schema(
        summary="Take an event from Stripe",
        description="Verified on the raw bytes, stored, answered; worked off later, once, in any order.",
        request={"application/json": OpenApiTypes.OBJECT},
        parameters=[OpenApiParameter("Stripe-Signature", str, OpenApiParameter.HEADER, required=True)],
        responses={
            200: serializers.ReceivedSerializer,
            (400, problems.CONTENT_TYPE): OpenApiResponse(ProblemSerializer, description="not signed, not an event"),
            (413, problems.CONTENT_TYPE): OpenApiResponse(ProblemSerializer, description="over 1 MiB"),
        },
    )
    def post(self, request: Request) -> Response:
        """Stored, now or before."""
        length = request.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > webhooks.LARGEST_BODY_BYTES:
            raise kernel_errors.TooLarge(f"at most {webhooks.LARGEST_BODY_BYTES} bytes are taken, not {length}")
        webhooks.receive_stripe(
            body=request.body,
            signature=request.headers.get("Stripe-Signature"),
            now=clock.now(),
        )
        return Response({"received": True})


def _require_of_our_time(received_at: datetime, now: datetime) -> None:
    if received_at > now + _CLOCK_SKEW:
        raise as_invalid("/received_at", "in_the_future", "is in the future")
    if received_at < _EARLIEST:
        raise as_invalid("/received_at", "out_of_range", "is before 2000")


def _request_key(request: Request) -> str:
    """The request's own name, kept with the row it makes; empty without an ``Idempotency-Key``."""
    key = idempotency.read_key(request)
    return f"{access.key_of(request).pk}:{key}" if key is not None else ""


def _reused(request: Request) -> idempotency.KeyReused:
    key = idempotency.read_key(request)
    return idempotency.KeyReused(f"the Idempotency-Key {key!r} was used with another request; take a new key")


def _is_other_offer(made: models.PaymentMethod, body: Mapping[str, Any]) -> bool:
    asked = (body["tenant_id"], body["processor_payment_method_id"], body["default"])
    return (made.tenant_id, made.offered_id, made.wanted_as_default) != asked


def _refusal_of(attempt: models.PaymentAttempt) -> kernel_errors.DomainError | None:
    """How an attempt that did not succeed is told."""
    refusals: Mapping[str, type[kernel_errors.DomainError]] = {
        models.AttemptStatus.PENDING: errors.PaymentUnresolved,
        models.AttemptStatus.FAILED: errors.PaymentDeclined,
        models.AttemptStatus.REQUIRES_ACTION: errors.PaymentRequiresAction,
    }
    refusal = refusals.get(attempt.status)
    if refusal is None:
        return None
    reason = attempt.message or "the processor has not answered yet; send the same request again to find out"
    told = serializers.AttemptSerializer(attempt).data
    return refusal(reason, extra={"payment_attempt": told, "decline_code": attempt.decline_code})


def _problem(request: Request, error: kernel_errors.DomainError, headers: Mapping[str, str]) -> Response:
    """A refusal as an answer and not as an exception, so that it can say that it is a replay."""
    document = problems.document(
        request,
        status=error.status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        extra=error.extra,
    )
    return Response(document, status=error.status, headers=dict(headers), content_type=problems.CONTENT_TYPE)
