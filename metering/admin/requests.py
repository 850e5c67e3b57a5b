"""The request roll-up."""

from django.contrib import admin

from metering import models
from metering.admin import base


@admin.register(models.RequestSummary)
class RequestSummaryAdmin(base.LargeTableAdmin):
    """What a tenant's requests add up to."""

    list_display = (
        "tenant_id",
        "granularity",
        "period_start",
        "requests",
        "units",
        "endpoints",
        "api_keys",
        "successes",
        "client_errors",
        "server_errors",
    )
    list_filter = ("granularity",)
    search_fields = ("tenant_id__exact",)
    search_help_text = "a tenant"
    ordering = ("-id",)
