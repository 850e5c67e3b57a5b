"""The answer to "our numbers are wrong", as a page: what the command ``investigate_usage`` tells."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold import widgets

from billing_site.kernel import clock, fields
from metering import hours, investigation, stages
from metering.findings import HourRow

PERMISSION: Final = "metering.view_usagesummary"
_LONGEST: Final = timedelta(days=100)
_LISTED_ROWS: Final = 2_500


class InvestigationForm(forms.Form):
    """Whose usage, and of which time."""

    tenant_id = forms.RegexField(
        rf"^{fields.CODE_PATTERN}\Z", label="tenant", widget=widgets.UnfoldAdminTextInputWidget
    )
    period_from = forms.DateTimeField(label="from, UTC", widget=widgets.UnfoldAdminTextInputWidget)
    period_to = forms.DateTimeField(label="to before, UTC", widget=widgets.UnfoldAdminTextInputWidget)
    meter = forms.CharField(
        label="meter or event type", required=False, max_length=100, widget=widgets.UnfoldAdminTextInputWidget
    )

    def clean(self) -> dict[str, Any]:
        """A page holds no more than some months."""
        values: dict[str, Any] = super().clean() or {}
        start, end = values.get("period_from"), values.get("period_to")
        if start and end and not timedelta() < end - start <= _LONGEST:
            raise forms.ValidationError(f"the period must have 1 second to {_LONGEST.days} days")
        return values


def investigate(request: HttpRequest) -> HttpResponse:
    """The form, and once it is filled in what was found; reads only."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    today = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    initial = {"period_from": today.replace(day=1), "period_to": today + timedelta(days=1)}
    form = InvestigationForm(request.GET) if request.GET else InvestigationForm(initial=initial)
    context = {**admin.site.each_context(request), "title": "Investigate usage", "form": form}
    if form.is_bound and form.is_valid():
        context |= _found(form.cleaned_data)
    return TemplateResponse(request, "metering/investigation.html", context)


def _found(asked: dict[str, Any]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    unlisted = 0

    def keep(row: HourRow) -> None:
        nonlocal unlisted
        if len(rows) == _LISTED_ROWS:
            unlisted += 1
            return
        figures = [getattr(row, name) for name in stages.STAGES]
        rows.append({"hour": hours.start_of(row.hour), "event_type": row.event_type, "figures": figures})

    found = investigation.investigate(
        tenant_id=asked["tenant_id"],
        period_from=_utc(asked["period_from"]),
        period_to=_utc(asked["period_to"]),
        meter=asked["meter"] or None,
        now=clock.now(),
        on_hour=keep,
    )
    return {
        "found": found,
        "rows": rows,
        "unlisted_rows": unlisted,
        "stages": [name.replace("_", " ") for name in stages.STAGES],
        "totals": [found.stages[name] for name in stages.STAGES],
    }


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
