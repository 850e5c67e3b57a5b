"""Months that were archived, and their files."""

from django.contrib import admin

from billing_site.kernel.admin import ReadOnlyModelAdmin
from metering import models


@admin.register(models.ArchivedMonth)
class ArchivedMonthAdmin(ReadOnlyModelAdmin):
    """Which months are sealed, verified, dropped, restored."""

    list_display = ("month", "event_count", "quantity", "sealed_at", "verified_at", "dropped_at", "restored_at")
    list_filter = ("sealed_at", "dropped_at", "restored_at")
    search_fields = ("manifest_path", "manifest_sha256")
    ordering = ("-month",)


@admin.register(models.ArchivedFile)
class ArchivedFileAdmin(ReadOnlyModelAdmin):
    """The days of archived months: where each lies, and what was read back from it."""

    list_display = ("day", "path", "event_count", "quantity", "size_bytes", "last_arrival_at", "keys_expired_at")
    list_filter = ("month", "keys_expired_at")
    search_fields = ("path", "sha256")
    ordering = ("-day",)
