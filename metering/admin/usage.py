"""Usage summaries."""

from django.contrib import admin

from metering import models
from metering.admin import base


@admin.register(models.UsageSummary)
class UsageSummaryAdmin(base.LargeTableAdmin):
    """What was used, hour by hour."""

    list_display = ("tenant_id", "meter", "granularity", "period_start", "total", "event_count", "computed_at")
    list_filter = ("granularity",)
    search_fields = ("tenant_id__exact",)
    search_help_text = "a tenant"
    ordering = ("-id",)
