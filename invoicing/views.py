"""The endpoints of invoicing: parse, one call, render."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import api, clock, database, idempotency
from billing_site.kernel.errors import FieldError
from invoicing import (
    catalog,
    current_usage,
    errors,
    filters,
    finalization,
    late_usage,
    lines,
    models,
    recognition,
    recognition_serializers,
    serializers,
    subscriptions,
    tenants,
    usage_serializers,
)
from invoicing.pricing import definitions, rating, reading
from ledger import balances


class TenantsEndpoint(api.ListEndpoint):
    """``/v1/tenants``."""

    queryset = models.Tenant.objects.all()
    serializer_class = serializers.TenantSerializer
    filterset_class = filters.TenantFilter
    ordering = ("-created_at", "-id")
    tenant_field = "id"

    @extend_schema(summary="List tenants")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        summary="Make a tenant", request=serializers.NewTenant, responses={201: serializers.TenantSerializer}
    )
    @idempotency.idempotent
    def post(self, request: Request) -> Response:
        """Under the caller's own code; currency and book are for ever."""
        body = self.body(serializers.NewTenant)
        self.require_tenant(body["id"], errors.TenantNotFound)
        terms = tenants.TenantTerms(**_without(body, "id"))
        tenant = tenants.create_tenant(tenant_id=body["id"], terms=terms, now=clock.now())
        return Response(serializers.TenantSerializer(tenant).data, HTTPStatus.CREATED)


class TenantEndpoint(api.Endpoint):
    """``/v1/tenants/{id}``."""

    @extend_schema(summary="Read a tenant", responses=serializers.TenantSerializer)
    def get(self, request: Request, tenant_id: str) -> Response:
        """One tenant."""
        self.query()
        self.require_tenant(tenant_id, errors.TenantNotFound)
        return Response(serializers.TenantSerializer(tenants.get_tenant(tenant_id)).data)

    @extend_schema(
        summary="Change a tenant",
        description="Code, currency and book are for ever. `metadata` is merged; an empty value removes its pair. "
        "A new `time_zone` holds for subscriptions made after it.",
        request=serializers.TenantChanges,
        responses=serializers.TenantSerializer,
    )
    def patch(self, request: Request, tenant_id: str) -> Response:
        """Some of its terms."""
        self.require_tenant(tenant_id, errors.TenantNotFound)
        changes = self.body(serializers.TenantChanges, partial=True)
        now = clock.now()
        tenant = database.retrying(lambda: tenants.update_tenant(tenant_id=tenant_id, changes=changes, now=now))
        return Response(serializers.TenantSerializer(tenant).data)


class BalanceEndpoint(api.Endpoint):
    """``/v1/tenants/{id}/balance``."""

    @extend_schema(summary="Read a tenant's balance", responses=serializers.BalanceSerializer)
    def get(self, request: Request, tenant_id: str) -> Response:
        """What the tenant owes and is owed, from the ledger."""
        self.query()
        self.require_tenant(tenant_id, errors.TenantNotFound)
        tenant = tenants.get_tenant(tenant_id)
        held = balances.tenant_balances(tenant_id=tenant_id)
        answer = {
            "tenant_id": tenant_id,
            "currency": tenant.currency,
            "receivable_cents": held.get((tenant.currency, "accounts_receivable"), 0),
            "prepaid_credit_cents": held.get((tenant.currency, "prepaid_credit"), 0),
            "customer_credit_cents": held.get((tenant.currency, "customer_credit"), 0),
            "deferred_revenue_cents": held.get((tenant.currency, "deferred_revenue"), 0),
        }
        return Response(serializers.BalanceSerializer(answer).data)


class PlansEndpoint(api.ListEndpoint):
    """``/v1/plans``: sold to all, so a key that is bound to one tenant may read and not write."""

    serializer_class = serializers.PlanSerializer
    filterset_class = filters.PlanFilter
    tenant_field = None

    def get_queryset(self) -> QuerySet[models.PlanVersion]:
        """The latest version of each."""
        return catalog.list_latest_versions()

    @extend_schema(summary="List plans")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page of their latest versions, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(summary="Make a plan", request=serializers.NewPlan, responses={201: serializers.PlanSerializer})
    @idempotency.idempotent
    def post(self, request: Request) -> Response:
        """Its first version."""
        _require_unbound(self)
        body = self.body(serializers.NewPlan)
        terms = catalog.PlanTerms(**_without(body, "code"))
        version = catalog.create_plan(code=body["code"], terms=terms, now=clock.now())
        return Response(serializers.PlanSerializer(version).data, HTTPStatus.CREATED)


class PlanEndpoint(api.Endpoint):
    """``/v1/plans/{code}``."""

    @extend_schema(summary="Read a plan", responses=serializers.PlanSerializer)
    def get(self, request: Request, code: str) -> Response:
        """Its latest version."""
        self.query()
        return Response(serializers.PlanSerializer(catalog.get_latest_version(code)).data)


class PlanVersionsEndpoint(api.Endpoint):
    """``/v1/plans/{code}/versions``."""

    @extend_schema(
        summary="Make the next version of a plan",
        description="Subscriptions stay on the version they have.",
        request=serializers.NewPlanVersion,
        responses={201: serializers.PlanSerializer},
    )
    @idempotency.idempotent
    def post(self, request: Request, code: str) -> Response:
        """A plan is never edited."""
        _require_unbound(self)
        terms = catalog.PlanTerms(**self.body(serializers.NewPlanVersion))
        version = catalog.create_plan_version(code=code, terms=terms, now=clock.now())
        return Response(serializers.PlanSerializer(version).data, HTTPStatus.CREATED)


class SubscriptionsEndpoint(api.ListEndpoint):
    """``/v1/subscriptions``."""

    queryset = models.Subscription.objects.select_related("plan_version")
    serializer_class = serializers.SubscriptionSerializer
    filterset_class = filters.SubscriptionFilter

    @extend_schema(summary="List subscriptions")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        summary="Subscribe a tenant to a plan",
        description="From the local midnight on or before `starts_at` (default: now), in the tenant's time zone. "
        "A start in the past is billed from there on by the next sweep.",
        request=serializers.NewSubscription,
        responses={201: serializers.SubscriptionSerializer},
    )
    @idempotency.idempotent
    def post(self, request: Request) -> Response:
        """On the plan's latest version."""
        body = self.body(serializers.NewSubscription)
        self.require_tenant(body["tenant_id"], errors.TenantNotFound)
        now = clock.now()
        subscription = subscriptions.create_subscription(
            tenant_id=body["tenant_id"],
            plan_code=body["plan_code"],
            starts_at=body.get("starts_at", now),
            metadata=body.get("metadata", {}),
            now=now,
        )
        return Response(serializers.SubscriptionSerializer(subscription).data, HTTPStatus.CREATED)


class SubscriptionEndpoint(api.Endpoint):
    """``/v1/subscriptions/{id}``."""

    @extend_schema(summary="Read a subscription", responses=serializers.SubscriptionSerializer)
    def get(self, request: Request, subscription_id: str) -> Response:
        """One subscription."""
        self.query()
        visible = self.restrict(models.Subscription.objects.select_related("plan_version"))
        subscription = visible.filter(pk=subscription_id).first()
        if subscription is None:
            raise errors.SubscriptionNotFound(f"no subscription {subscription_id!r}")
        return Response(serializers.SubscriptionSerializer(subscription).data)


class InvoicesEndpoint(api.ListEndpoint):
    """``/v1/invoices``."""

    queryset = models.Invoice.objects.prefetch_related("lines")
    serializer_class = serializers.InvoiceSerializer
    filterset_class = filters.InvoiceFilter
    scopes: ClassVar[Mapping[str, str]] = {"GET": "billing:read"}

    @extend_schema(summary="List invoices")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page with their lines, newest first."""
        return super().get(request, *args, **kwargs)


class InvoiceEndpoint(api.Endpoint):
    """``/v1/invoices/{id}``."""

    @extend_schema(summary="Read an invoice", responses=serializers.InvoiceSerializer)
    def get(self, request: Request, invoice_id: str) -> Response:
        """One invoice with its lines."""
        self.query()
        return Response(serializers.InvoiceSerializer(_visible_invoice(self, invoice_id)).data)


class InvoiceRecognitionEndpoint(api.Endpoint):
    """``/v1/invoices/{id}/recognition``."""

    @extend_schema(
        summary="Read what is earned of an invoice billed in advance",
        description="Its lines that went to deferred revenue, each with its plan by month. A draft has none yet.",
        responses=recognition_serializers.RecognitionSerializer,
    )
    def get(self, request: Request, invoice_id: str) -> Response:
        """Line by line."""
        self.query()
        told = recognition.of_invoice(_visible_invoice(self, invoice_id))
        return Response(recognition_serializers.RecognitionSerializer(told).data)


class LateUsageEndpoint(api.Endpoint):
    """``/v1/invoices/{id}/late-usage``."""

    @extend_schema(
        summary="Read what came after an invoice was finalized",
        description="Each meter that it billed, and by how much what is known now differs. What was billed does not "
        "change. Counted by the sweep that drafts invoices, a few minutes after the usage was summarised.",
        responses=usage_serializers.LateUsageSerializer,
    )
    def get(self, request: Request, invoice_id: str) -> Response:
        """Meter by meter."""
        self.query()
        invoice = _visible_invoice(self, invoice_id)
        answer = {
            "invoice_id": invoice.id,
            "tenant_id": invoice.tenant_id,
            "period_start": invoice.period_start,
            "period_end": invoice.period_end,
            "finalized_at": invoice.finalized_at,
            "meters": late_usage.list_late_usage(invoice),
        }
        return Response(usage_serializers.LateUsageSerializer(answer).data)


class CurrentUsageEndpoint(api.Endpoint):
    """``/v1/usage/current``."""

    scopes: ClassVar[Mapping[str, str]] = {"GET": "usage:read"}

    @extend_schema(
        summary="Read what the running period has used so far",
        description="For each subscription: totals by meter, billable units and average response time of gateway "
        "requests, and the amount so far by the plan's prices. Fees are not in it. Every event accepted before "
        "`fresh_as_of` is counted.",
        parameters=[usage_serializers.CurrentUsageQuery],
        responses=usage_serializers.CurrentUsageSerializer,
    )
    def get(self, request: Request) -> Response:
        """Of one tenant."""
        query = self.query(usage_serializers.CurrentUsageQuery)
        self.require_tenant(query["tenant_id"], errors.TenantNotFound)
        tenant = tenants.get_tenant(query["tenant_id"])
        current = current_usage.get_current_usage(tenant=tenant, now=clock.now())
        return Response(usage_serializers.CurrentUsageSerializer(current).data)


class FinalizeInvoiceEndpoint(api.Endpoint):
    """``/v1/invoices/{id}/finalize``."""

    @extend_schema(
        summary="Finalize a draft now",
        description="Ends its grace period: the invoice is numbered, frozen and posted to the ledger.",
        request=None,
        responses={200: serializers.InvoiceSerializer},
    )
    @idempotency.idempotent
    def post(self, request: Request, invoice_id: str) -> Response:
        """409 with the current state where it is no draft, or where its usage is still being summarised."""
        self.body(serializers.NoBody)
        _visible_invoice(self, invoice_id)
        finalization.finalize_invoice(invoice_id=invoice_id, now=clock.now())
        return Response(serializers.InvoiceSerializer(_visible_invoice(self, invoice_id)).data)


class QuoteEndpoint(api.Endpoint):
    """``/v1/pricing/quote``."""

    scopes: ClassVar[Mapping[str, str]] = {"POST": "billing:read"}

    @extend_schema(
        summary="Try a price",
        description="Rates one price by the function that rates invoices; stores nothing.",
        request=serializers.QuoteRequest,
        responses={200: serializers.QuoteSerializer},
    )
    @idempotency.idempotent
    def post(self, request: Request) -> Response:
        """The amount, exactly and rounded, and its tiers."""
        body = self.body(serializers.QuoteRequest)
        try:
            price = definitions.parse(_without_meter(body["price"]), pointer="/price")
        except reading.PriceRefused as refused:
            raise catalog.refusal(refused.errors) from refused
        line = rating.rate(price, body["quantity"])
        if line.amount_cents > lines.MAXIMUM_CENTS:
            detail = f"costs {line.amount_cents} in minor units, more than can be billed"
            raise errors.AmountTooLarge(detail, errors=[FieldError("/quantity", errors.AmountTooLarge.code, detail)])
        return Response(serializers.QuoteSerializer(line).data)


def _visible_invoice(view: api.Endpoint, invoice_id: str) -> models.Invoice:
    invoice = view.restrict(models.Invoice.objects.prefetch_related("lines")).filter(pk=invoice_id).first()
    if invoice is None:
        raise errors.InvoiceNotFound(f"no invoice {invoice_id!r}")
    return invoice


def _require_unbound(view: api.Endpoint) -> None:
    bound = view.bound_tenant_id()
    if bound is not None:
        raise errors.CatalogIsShared(f"the key is bound to the tenant {bound!r}; plans are sold to all")


def _without_meter(document: Any) -> Any:
    return _without(document, "meter") if isinstance(document, Mapping) else document


def _without(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}
