"""Events that were not taken: to look at, and with permission to replay or discard."""

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action
from unfold.forms import ActionForm
from unfold.widgets import UnfoldAdminTextInputWidget

from billing_site.kernel import clock, database
from billing_site.kernel.admin import ReadOnlyInline
from metering import dead_letters, models, replays, schemas
from metering.admin import base, investigation

_AT_ONCE: Final = 1_000
_REASON_NEEDED: Final = "Write the reason for discarding beside the action."


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


class ReasonedActionForm(ActionForm):
    """Which action, and why."""

    reason = forms.CharField(
        label="Reason, to discard:",
        required=False,
        max_length=dead_letters.MAX_REASON_CHARACTERS,
        widget=UnfoldAdminTextInputWidget,
    )


class ActionInline(ReadOnlyInline):
    """What was done about a dead letter."""

    model = models.DeadLetterAction
    fields = ("created_at", "step", "actor", "code", "detail", "reason", "event")
    ordering = ("-id",)
    show_change_link = False
    per_page = 50


@admin.register(models.DeadLetter)
class DeadLetterAdmin(base.LargeTableAdmin):
    """Events that were not taken."""

    list_display = ("id", "tenant_id", "code", "detail", "event_type", "count", "last_seen_at", "state", "resolved_by")
    list_filter = ("state", VerdictFilter)
    search_fields = ("tenant_id__exact", "id__exact")
    search_help_text = "a tenant, or the id of a dead letter"
    ordering = ("-id",)
    inlines = (ActionInline,)
    actions_list = ("investigate",)
    actions = ("replay", "discard")  # type: ignore[assignment]  # most screens have none
    action_form = ReasonedActionForm

    @action(description="Investigate a tenant's usage", url_path="investigation", permissions=["investigate"])
    def investigate(self, request: HttpRequest) -> HttpResponse:
        """The investigation, beside the letters that it often begins with."""
        return investigation.investigate(request)

    def has_investigate_permission(self, request: HttpRequest) -> bool:
        """Who may see what was summarised."""
        return request.user.has_perm(investigation.PERMISSION)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """``metering.replay_deadletter``."""
        return request.user.has_perm("metering.replay_deadletter")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """``metering.discard_deadletter``."""
        return request.user.has_perm("metering.discard_deadletter")

    @admin.action(description="Replay the chosen ones", permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet[models.DeadLetter]) -> None:
        """Take them in again, at most a thousand at once; the command takes more."""
        report = replays.replay_many(
            chosen=models.DeadLetter.objects.filter(pk__in=_first_ids(queryset)),
            actor=_actor(request),
            now=clock.now(),
            limit=_AT_ONCE,
        )
        level = messages.WARNING if report.failed or report.busy else messages.SUCCESS
        codes = ", ".join(f"{count:,} {code}" for code, count in report.failed_by_code.items())
        text = f"{report.replayed:,} replayed, {report.failed:,} failed again{f' ({codes})' if codes else ''}"
        if report.busy:
            text += f", {report.busy:,} were being worked on by somebody else"
        self.message_user(request, f"{text}.", level)

    @admin.action(description="Discard the chosen ones", permissions=["discard"])
    def discard(self, request: HttpRequest, queryset: QuerySet[models.DeadLetter]) -> None:
        """Give them up, at most a thousand at once, with one reason for all."""
        form = ReasonedActionForm(request.POST)
        form.fields["action"].choices = self.get_action_choices(request)
        reason = form.cleaned_data["reason"].strip() if form.is_valid() else ""
        if not reason:
            self.message_user(request, _REASON_NEEDED, messages.ERROR)
            return
        ids = _first_ids(queryset)
        work = partial(dead_letters.discard_many, letter_ids=ids, reason=reason, actor=_actor(request), now=clock.now())
        count = database.retrying(work)
        self.message_user(request, f"{count:,} discarded, {len(ids) - count:,} left as they were.", messages.SUCCESS)


@admin.register(models.DeadLetterAction)
class DeadLetterActionAdmin(base.LargeTableAdmin):
    """What was done about dead letters, by whom and when."""

    list_display = ("id", "letter", "step", "actor", "code", "reason", "created_at")
    list_filter = ("step",)
    search_fields = ("letter_id__exact", "actor__exact")
    search_help_text = "the id of a dead letter, or who did it"
    ordering = ("-id",)
    list_select_related = ("letter",)


def _first_ids(queryset: QuerySet[models.DeadLetter]) -> list[str]:
    return list(queryset.order_by("pk").values_list("pk", flat=True)[:_AT_ONCE])


def _actor(request: HttpRequest) -> str:
    return f"admin:{request.user.get_username()}"[:200]
