"""Usage thresholds and when they fired."""

from django.contrib import admin

from billing_site.kernel.admin import ReadOnlyModelAdmin
from metering import models
from metering.admin import base


@admin.register(models.UsageThreshold)
class UsageThresholdAdmin(ReadOnlyModelAdmin):
    """What is watched, and what is refused beyond it."""

    list_display = ("id", "tenant_id", "meter", "quantity", "period", "action", "created_at", "deactivated_at")
    list_filter = ("action", "period", ("deactivated_at", admin.EmptyFieldListFilter))
    search_fields = ("tenant_id", "meter", "id")
    ordering = ("-id",)


@admin.register(models.ThresholdFiring)
class ThresholdFiringAdmin(base.LargeTableAdmin):
    """What was reached, when."""

    list_display = ("id", "tenant_id", "threshold", "period_start", "period_end", "reached_quantity", "fired_at")
    list_filter = ("threshold__action", "threshold__period", "fired_at")
    list_select_related = ("threshold",)
    search_fields = ("tenant_id__exact", "threshold__id__exact", "id__exact")
    search_help_text = "a tenant, a threshold or the id of a firing"
    ordering = ("-id",)
