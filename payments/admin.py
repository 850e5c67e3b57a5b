"""The admin's screens of payments."""

from django.contrib import admin

from billing_site.kernel.admin import ReadOnlyInline, ReadOnlyModelAdmin
from payments import models


class AllocationInline(ReadOnlyInline):
    """What of a payment settled which invoice."""

    model = models.Allocation
    fields = ("invoice", "amount_cents", "created_at")


@admin.register(models.PaymentMethod)
class PaymentMethodAdmin(ReadOnlyModelAdmin):
    """Ways to charge tenants."""

    list_display = ("id", "tenant", "brand", "last4", "status", "is_default", "channel", "created_at")
    list_filter = ("status", "is_default", "channel", "created_at")
    search_fields = ("id", "tenant__id", "external_id", "last4")
    list_select_related = ("tenant",)


@admin.register(models.Collection)
class CollectionAdmin(ReadOnlyModelAdmin):
    """Invoices being collected, and what each waits for."""

    list_display = ("invoice", "tenant", "status", "next_attempt_at", "attempts", "quarantined_at", "updated_at")
    list_filter = ("status", ("quarantined_at", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("id", "invoice__id", "invoice__number", "tenant__id")
    list_select_related = ("invoice", "tenant")


@admin.register(models.PaymentAttempt)
class PaymentAttemptAdmin(ReadOnlyModelAdmin):
    """Each try to charge, and how it ended."""

    list_display = ("id", "invoice", "number", "tenant", "status", "amount_cents", "currency", "failure_code")
    list_filter = ("status", "channel", "failure_code", "created_at")
    search_fields = ("id", "invoice__id", "invoice__number", "tenant__id", "external_id", "idempotency_key")
    list_select_related = ("invoice", "tenant")


@admin.register(models.Payment)
class PaymentAdmin(ReadOnlyModelAdmin):
    """Money that came, and where it went."""

    list_display = ("id", "tenant", "invoice", "channel", "amount_cents", "applied_cents", "currency", "received_at")
    list_filter = ("channel", "currency", "received_at")
    search_fields = ("id", "tenant__id", "invoice__id", "invoice__number", "external_id", "reference")
    list_select_related = ("tenant", "invoice")
    inlines = (AllocationInline,)


@admin.register(models.Allocation)
class AllocationAdmin(ReadOnlyModelAdmin):
    """What of each payment settled which invoice."""

    list_display = ("payment", "invoice", "amount_cents", "created_at")
    list_filter = ("created_at",)
    search_fields = ("payment__id", "invoice__id", "invoice__number")
    list_select_related = ("payment", "invoice")


@admin.register(models.ProviderMessage)
class ProviderMessageAdmin(ReadOnlyModelAdmin):
    """Messages from processors, as they came."""

    list_display = ("event_id", "event_type", "object_id", "status", "ignored_reason", "received_at", "quarantined_at")
    list_filter = ("status", "provider", "event_type", ("quarantined_at", admin.EmptyFieldListFilter), "received_at")
    search_fields = ("id", "event_id", "object_id", "event_type")
