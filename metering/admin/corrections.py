"""Corrections of events, and events that were sent again."""

from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from metering import models, rules
from metering.admin import base

_SHOWN: Final = ("correction_key_hash", "original_key_hash", "quantity", "void", "created_at", "state")


@admin.register(models.Correction)
class CorrectionAdmin(base.LargeTableAdmin):
    """Which event gives which other a new quantity."""

    list_display = _SHOWN
    list_filter = ("void", "fault", base.RecentHours)
    search_fields = ("original_key_hash",)  # makes the search box; what it finds is told below
    search_help_text = "a tenant and an idempotency key: of the correction, or of the event that it corrects"
    ordering = ("-event_hour", "-series_id")

    @admin.display
    def state(self, correction: models.Correction) -> str:
        """Whether it counts, waits, or never will."""
        if correction.fault:
            return str(correction.get_fault_display())
        return "counts" if correction.original_event_hour is not None else "waits for its original"

    def get_search_results(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        search_term: str,
    ) -> tuple[QuerySet[Any], bool]:
        """The trail of one event: what corrects it, or what it corrects."""
        tenant_id, _, idempotency_key = search_term.strip().partition(" ")
        if not idempotency_key:
            return (queryset.none() if tenant_id else queryset), False
        name = rules.hash_key(tenant_id=tenant_id, idempotency_key=idempotency_key.strip())
        return queryset.filter(original_key_hash=name) | queryset.filter(correction_key_hash=name), False


@admin.register(models.RepeatedEvent)
class RepeatedEventAdmin(base.LargeTableAdmin):
    """What was sent again: the last days batch by batch, what is older added up (batch 0)."""

    list_display = ("batch_id", "tenant_id", "event_type", "event_hour", "duplicates", "conflicts", "created_at")
    list_filter = (base.RecentHours,)
    search_fields = ("tenant_id__exact",)
    search_help_text = "a tenant"
    ordering = ("-id",)
