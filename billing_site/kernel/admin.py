"""The base of all admin screens, and the kernel's own."""

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from billing_site.kernel import models


class ReadOnlyModelAdmin(ModelAdmin):
    """Rows to look at, search and filter; nothing to add, change or delete."""

    show_full_result_count = False  # counting all rows of a large table would take longer than the page
    list_per_page = 50
    compressed_fields = True
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody changes rows by hand."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody deletes rows by hand."""
        return False


class ReadOnlyInline(TabularInline):
    """Rows that belong to the one shown, read only."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes rows by hand."""
        return False


@admin.register(models.ApiKey)
class ApiKeyAdmin(ReadOnlyModelAdmin):
    """Keys by name, scope and tenant; never their hash."""

    list_display = ("prefix", "name", "tenant_id", "scopes", "rate_limit", "created_at", "revoked_at")
    list_filter = ("revoked_at",)
    search_fields = ("name", "prefix", "tenant_id")
    exclude = ("secret_hash",)


@admin.register(models.IdempotencyRecord)
class IdempotencyRecordAdmin(ReadOnlyModelAdmin):
    """Remembered answers, to see what a repeated request will be told."""

    list_display = ("key", "api_key", "status", "created_at")
    list_filter = ("status", "created_at")
    search_fields = ("key",)
    exclude = ("fingerprint",)
    list_select_related = ("api_key",)


@admin.register(models.OutboxMessage)
class OutboxMessageAdmin(ReadOnlyModelAdmin):
    """Facts left for others."""

    list_display = ("id", "topic", "tenant_id", "reference_id", "created_at")
    list_filter = ("topic", "created_at")
    search_fields = ("id", "reference_id", "tenant_id")
