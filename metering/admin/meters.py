"""Meters, and the windows that they are counted in: changed, split, set aside."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import ngettext

from billing_site.kernel import clock
from billing_site.kernel.admin import ReadOnlyInline, ReadOnlyModelAdmin
from metering import hours, models, quarantine
from metering.admin import base


class MeterBackfillInline(ReadOnlyInline):
    """How far a new meter has counted what was there."""

    model = models.MeterBackfill
    show_change_link = False


@admin.register(models.Meter)
class MeterAdmin(ReadOnlyModelAdmin):
    """What is counted of events."""

    list_display = ("code", "event_type", "aggregation", "property", "group_by", "created_at")
    list_filter = ("aggregation", "created_at")
    search_fields = ("code", "event_type")
    inlines = (MeterBackfillInline,)


@admin.register(models.MeterBackfill)
class MeterBackfillAdmin(ReadOnlyModelAdmin):
    """Meters that count what was there before them."""

    list_display = ("meter", "shard", "windows", "started_at", "finished_at")
    list_filter = (("finished_at", admin.EmptyFieldListFilter),)
    list_select_related = ("meter",)
    search_fields = ("meter__code",)


@admin.register(models.ChangedWindow)
class ChangedWindowAdmin(base.LargeTableAdmin):
    """Hourly summaries that changed in the last week."""

    list_display = ("tenant_id", "meter", "group_key", "period_start", "old_total", "new_total", "changed_at")
    list_filter = ("shard",)
    search_fields = ("id__exact",)
    search_help_text = "the number of a change"
    ordering = ("-id",)


@admin.register(models.WindowSplit)
class WindowSplitAdmin(ReadOnlyModelAdmin):
    """Hours that a billing period begins or ends in."""

    list_display = ("tenant_id", "split_at", "created_at")
    list_filter = ("created_at",)
    search_fields = ("tenant_id",)


@admin.register(models.QuarantinedWindow)
class QuarantinedWindowAdmin(ReadOnlyModelAdmin):
    """Windows that could not be summarised, and hold back how fresh usage is."""

    list_display = ("series", "hour", "state", "attempts", "started_at", "last_failed_at", "retry_at", "error")
    list_filter = ("state", "last_failed_at")
    search_fields = ("error", "series_id__exact")
    search_help_text = "the error, or the number of a series"
    actions = ("try_again",)  # type: ignore[assignment]  # the base has none

    @admin.display(description="tenant and type")
    def series(self, window: models.QuarantinedWindow) -> str:
        """The series in words."""
        return str(models.Series.objects.filter(pk=window.series_id).first() or window.series_id)

    @admin.display
    def hour(self, window: models.QuarantinedWindow) -> Any:
        """When it begins."""
        return hours.start_of(window.event_hour)

    @admin.action(description="Try again in the next run", permissions=["retry"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[models.QuarantinedWindow]) -> None:
        """Whatever made them fail was mended."""
        count = quarantine.release(now=clock.now(), ids=queryset.values_list("pk", flat=True))
        told = ngettext("%d window is tried again", "%d windows are tried again", count) % count
        self.message_user(request, told, messages.SUCCESS)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Those who may change quarantined windows by permission, though nobody does by hand."""
        return bool(request.user.has_perm("metering.change_quarantinedwindow"))
