"""Usage that stood out."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import ngettext

from billing_site.kernel import clock
from metering import anomalies, models
from metering.admin import base


@admin.register(models.UsageAnomaly)
class UsageAnomalyAdmin(base.LargeTableAdmin):
    """Days that stood out, and who has seen it."""

    list_display = (
        "id",
        "tenant_id",
        "event_type",
        "day",
        "kind",
        "observed_quantity",
        "expected_quantity",
        "z_score",
        "state",
        "acknowledged_by",
    )
    list_filter = ("state", "kind", "day")
    search_fields = ("tenant_id__exact", "event_type__exact", "id__exact")
    search_help_text = "a tenant, an event type or the id of a finding"
    ordering = ("-id",)
    actions = ("acknowledge",)  # type: ignore[assignment]  # the one thing that may be done here

    @admin.action(description="Acknowledge", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[models.UsageAnomaly]) -> None:
        """Note who has seen the ones that are chosen."""
        count = anomalies.acknowledge(anomalies=queryset, by=request.user.get_username(), now=clock.now())
        told = ngettext("%d finding was acknowledged.", "%d findings were acknowledged.", count) % count
        self.message_user(request, told, messages.SUCCESS)

    def has_acknowledge_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may acknowledge."""
        return request.user.has_perm("metering.acknowledge_usageanomaly")
