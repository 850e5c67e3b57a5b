"""What screens of large tables have in common."""

from collections.abc import Iterable
from datetime import timedelta
from functools import cached_property
from typing import Any, Final

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

from billing_site.kernel import clock
from billing_site.kernel.admin import ReadOnlyModelAdmin
from metering import hours

_COUNTED_ROWS: Final = 10_000


class BoundedPaginator(Paginator[Any]):
    """Counts no further than anyone pages: counting a large table takes longer than showing a page of it."""

    @cached_property
    def count(self) -> int:
        """The rows, or the bound when there are more."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[:_COUNTED_ROWS].count()


class LargeTableAdmin(ReadOnlyModelAdmin):
    """A screen of a table with millions of rows."""

    paginator = BoundedPaginator
    sortable_by = ()  # the order shown is the one that has an index


class RecentHours(admin.SimpleListFilter):
    """By the hour that an event lies in, which the event store is ordered by."""

    title = "happened"
    parameter_name = "hours"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """How far back."""
        return [("1", "in the last hour"), ("24", "in the last day"), ("168", "in the last week")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The events of these hours and later."""
        if self.value() not in ("1", "24", "168"):
            return queryset
        return queryset.filter(event_hour__gte=hours.hour_of(clock.now() - timedelta(hours=int(self.value() or 0))))
