"""Events that were not taken."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from metering import models, schemas
from metering.admin import base


class VerdictFilter(admin.SimpleListFilter):
    """By the reason, from the list of reasons rather than from the rows."""

    title = "reason"
    parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Every reason there is."""
        return [(code.value, code.value.replace("_", " ")) for code in schemas.Code]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The dead letters with this reason."""
        return queryset.filter(code=self.value()) if self.value() else queryset


@admin.register(models.DeadLetter)
class DeadLetterAdmin(base.LargeTableAdmin):
    """Events that were not taken."""

    list_display = ("id", "tenant_id", "code", "detail", "count", "last_seen_at", "state")
    list_filter = ("state", VerdictFilter)
    search_fields = ("tenant_id__exact", "id__exact")
    search_help_text = "a tenant, or the id of a dead letter"
    ordering = ("-id",)


@admin.register(models.DeadLetterAction)
class DeadLetterActionAdmin(base.LargeTableAdmin):
    """What was done about dead letters, by whom and when."""

    list_display = ("id", "letter", "step", "actor", "code", "reason", "created_at")
    list_filter = ("step",)
    search_fields = ("letter_id__exact", "actor__exact")
    search_help_text = "the id of a dead letter, or who did it"
    ordering = ("-id",)
    list_select_related = ("letter",)
