"""What finance reads of a whole book in the admin: its trial balance, and its entries as a file."""

from datetime import UTC, datetime
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from unfold import widgets

from billing_site.kernel import money
from ledger import balances, errors, export, models
from ledger import books as ledger_books

_DATE: Final = {"type": "date"}


class TrialBalanceForm(forms.Form):
    """Which trial balance: the books before a day begins (UTC), now where none is given; one currency or all."""

    as_of = forms.DateField(
        required=False, label="before the day", widget=widgets.UnfoldAdminTextInputWidget(attrs=_DATE)
    )
    currency = forms.RegexField(
        r"^[A-Z]{3}$",
        required=False,
        error_messages={"invalid": "three capital letters, such as USD"},
        widget=widgets.UnfoldAdminTextInputWidget(attrs={"placeholder": "all", "size": 5}),
    )


class ExportForm(forms.Form):
    """Which entries: those that took effect from a day on, and before another (UTC)."""

    first_day = forms.DateField(label="from the day", widget=widgets.UnfoldAdminTextInputWidget(attrs=_DATE))
    end_day = forms.DateField(label="to, and without, the day", widget=widgets.UnfoldAdminTextInputWidget(attrs=_DATE))

    def clean(self) -> dict[str, Any]:
        """Time runs forward."""
        days = super().clean() or {}
        if "first_day" in days and "end_day" in days and days["first_day"] >= days["end_day"]:
            raise forms.ValidationError("the end must be after the first day")
        return days


def trial_balance(request: HttpRequest, code: str) -> HttpResponseBase:
    """The page of a book's trial balance, with the form of its export."""
    book = _get_book(request, code)
    form = TrialBalanceForm(request.GET if {"as_of", "currency"} & request.GET.keys() else None)
    exporting = ExportForm(request.GET) if "first_day" in request.GET else ExportForm()
    asked = form.cleaned_data if form.is_valid() else {}
    if exporting.is_valid():
        return _file(book, exporting)
    as_of = _midnight(asked["as_of"]) if asked.get("as_of") else None
    rows = balances.trial_balance(book=book.code, currency=asked.get("currency") or None, as_of=as_of)
    return render(
        request,
        "ledger/trial_balance.html",
        {
            **admin.site.each_context(request),
            "title": f"Trial balance of {book}",
            "opts": models.Book._meta,  # noqa: SLF001  (a documented API)
            "book": book,
            "form": form,
            "export_form": exporting,
            "tables": [_table(request, book, total, rows) for total in balances.trial_balance_totals(rows)],
        },
        status=400 if form.errors or exporting.errors else 200,
    )


def _get_book(request: HttpRequest, code: str) -> models.Book:
    if not request.user.has_perm("ledger.view_book") or not request.user.has_perm("ledger.view_entry"):
        raise PermissionDenied
    try:
        return ledger_books.get_book(code)
    except errors.BookNotFound as error:
        raise Http404(error.detail) from error


def _table(
    request: HttpRequest,
    book: models.Book,
    total: balances.TrialBalanceTotal,
    rows: list[balances.TrialBalanceRow],
) -> dict[str, Any]:
    """One currency's rows, each with the way to its accounts."""
    accounts = reverse("admin:ledger_account_changelist")
    currency = total.currency
    return {
        "currency": currency,
        "lines": [
            {
                "code": row.code,
                "account_type": row.account_type,
                "category": row.category,
                "debit": money.format_cents(row.debit_cents, currency) if row.debit_cents else "",
                "credit": money.format_cents(row.credit_cents, currency) if row.credit_cents else "",
                "accounts": f"{accounts}?type__exact={row.account_type}&currency__exact={currency}"
                f"&book__code__exact={book.code}",
            }
            for row in rows
            if row.currency == currency
        ],
        "debit": money.format_cents(total.debit_cents, currency),
        "credit": money.format_cents(total.credit_cents, currency),
    }


def _file(book: models.Book, form: ExportForm) -> StreamingHttpResponse:
    """The general ledger of the days asked for, streamed."""
    start, end = _midnight(form.cleaned_data["first_day"]), _midnight(form.cleaned_data["end_day"])
    return StreamingHttpResponse(
        export.stream_csv(book=book.code, period_start=start, period_end=end),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{export.file_name(book.code, start, end)}"'},
    )


def _midnight(day: Any) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
