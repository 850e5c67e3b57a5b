"""Events, keys, series, touched windows."""

from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from billing_site.kernel.admin import ReadOnlyModelAdmin
from metering import hours, models, rules
from metering.admin import base

_SEARCHED_HOURS: Final = 240


class KeyedAdmin(base.LargeTableAdmin):
    """A screen searched by tenant and idempotency key, whose hash is the row's name."""

    search_fields = ("key_hash",)  # makes the search box; what it finds is told below

    def get_search_results(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        search_term: str,
    ) -> tuple[QuerySet[Any], bool]:
        """A tenant's rows, or the one of a tenant's idempotency key."""
        tenant_id, _, idempotency_key = search_term.strip().partition(" ")
        if not tenant_id:
            return queryset, False
        if not idempotency_key:
            return self.of_tenant(queryset, tenant_id), False
        name = rules.hash_key(tenant_id=tenant_id, idempotency_key=idempotency_key.strip())
        return self.of_key(queryset, name), False

    def of_tenant(self, queryset: QuerySet[Any], tenant_id: str) -> QuerySet[Any]:
        """The rows of a tenant."""
        return queryset.filter(series_id__in=_series_ids(tenant_id))

    def of_key(self, queryset: QuerySet[Any], key_hash: str) -> QuerySet[Any]:
        """The row of a key."""
        return queryset.filter(key_hash=key_hash)


@admin.register(models.Event)
class EventAdmin(KeyedAdmin):
    """Events as they came."""

    list_display = ("idempotency_key", "series", "quantity", "event_timestamp", "created_at", "source")
    list_filter = (base.RecentHours,)
    ordering = ("-event_hour", "-key_hash")
    search_help_text = "a tenant, or a tenant and an idempotency key"

    @admin.display(description="tenant and type")
    def series(self, event: models.Event) -> str:
        """The series in words."""
        return str(models.Series.objects.filter(pk=event.series_id).first() or event.series_id)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> models.Event | None:
        """One event, found by way of its key, which says where it lies."""
        try:
            return self.of_key(self.get_queryset(request), object_id).first()
        except (ValidationError, ValueError):
            return None

    def of_tenant(self, queryset: QuerySet[Any], tenant_id: str) -> QuerySet[Any]:
        """The tenant's newest: only hours that a summary has of it are looked into."""
        recent = models.UsageSummary.objects.filter(tenant_id=tenant_id, granularity=models.Granularity.HOUR)
        starts = recent.order_by("-period_start").values_list("period_start", flat=True)[:_SEARCHED_HOURS]
        return super().of_tenant(queryset, tenant_id).filter(event_hour__in=[hours.hour_of(start) for start in starts])

    def of_key(self, queryset: QuerySet[Any], key_hash: str) -> QuerySet[Any]:
        """The event in the window that its key names."""
        key = models.EventKey.objects.filter(key_hash=key_hash).first()
        if key is None:
            return queryset.none()
        return queryset.filter(event_hour=key.event_hour, series_id=key.series_id, key_hash=key.key_hash)


@admin.register(models.EventKey)
class EventKeyAdmin(KeyedAdmin):
    """Keys that were used."""

    list_display = ("key_hash", "series_id", "batch_id", "created_at")
    list_filter = (base.RecentHours,)
    ordering = ("key_hash",)
    search_help_text = "a tenant, or a tenant and an idempotency key"


@admin.register(models.Series)
class SeriesAdmin(ReadOnlyModelAdmin):
    """Which tenants send which types."""

    list_display = ("id", "tenant_id", "event_type", "created_at")
    list_filter = ("created_at",)
    search_fields = ("tenant_id", "event_type")
    ordering = ("tenant_id", "event_type")


@admin.register(models.TouchedWindow)
class TouchedWindowAdmin(ReadOnlyModelAdmin):
    """Batches whose windows wait to be summarised."""

    list_display = ("batch_id", "started_at", "windows")
    list_filter = ("started_at",)
    search_fields = ("batch_id",)

    @admin.display
    def windows(self, touched: models.TouchedWindow) -> int:
        """How many windows the batch touched."""
        return len(touched.hours)


def _series_ids(tenant_id: str) -> list[int]:
    return list(models.Series.objects.filter(tenant_id=tenant_id).values_list("pk", flat=True))
