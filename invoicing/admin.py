"""The admin's screens of invoicing, all to look at."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from billing_site.kernel import money
from billing_site.kernel.admin import ReadOnlyInline, ReadOnlyModelAdmin
from invoicing import models, recognition
from invoicing.models.invoices import InvoiceStatus
from ledger.models import Entry


class PriceInline(ReadOnlyInline):
    """The prices of a plan version."""

    model = models.Price
    fields = ("position", "meter", "model", "definition")
    ordering = ("position",)


class LineItemInline(ReadOnlyInline):
    """The lines of an invoice."""

    model = models.LineItem
    fields = ("kind", "meter", "description", "quantity", "unrounded_amount_cents", "amount_cents", "tiers")
    ordering = ("position",)


class LateUsageInline(ReadOnlyInline):
    """What came after the invoice was finalized."""

    model = models.LateUsage
    fields = ("meter", "event_count", "quantity", "first_noticed_at", "changed_at")
    ordering = ("meter",)


@admin.register(models.Tenant)
class TenantAdmin(ReadOnlyModelAdmin):
    """Who is billed."""

    list_display = ("id", "name", "currency", "billing_channel", "time_zone", "net_terms_days", "created_at")
    list_filter = ("billing_channel", "currency", "book", "created_at")
    search_fields = ("id", "name", "email", "tax_id")


@admin.register(models.Plan)
class PlanAdmin(ReadOnlyModelAdmin):
    """Plans by code."""

    list_display = ("code", "created_at")
    list_filter = ("created_at",)
    search_fields = ("code",)


@admin.register(models.PlanVersion)
class PlanVersionAdmin(ReadOnlyModelAdmin):
    """What each version of a plan says, with its prices."""

    list_display = ("plan", "version", "name", "currency", "interval", "billing_anchor", "base_fee_cents", "created_at")
    list_filter = ("currency", "interval", "billing_anchor", "created_at")
    search_fields = ("id", "plan__code", "name")
    list_select_related = ("plan",)
    inlines = (PriceInline,)


@admin.register(models.Price)
class PriceAdmin(ReadOnlyModelAdmin):
    """Prices by meter."""

    list_display = ("id", "plan_version", "position", "meter", "model")
    list_filter = ("model",)
    search_fields = ("id", "meter", "plan_version__plan__code")
    list_select_related = ("plan_version",)


@admin.register(models.Subscription)
class SubscriptionAdmin(ReadOnlyModelAdmin):
    """Who is on which plan."""

    list_display = ("id", "tenant", "plan_version", "status", "starts_at", "next_boundary_at", "created_at")
    list_filter = ("status", "currency", "created_at", "next_boundary_at")
    search_fields = ("id", "tenant__id", "tenant__name", "plan_version__plan__code")
    list_select_related = ("tenant", "plan_version")


_STATUS_COLOURS = {
    InvoiceStatus.DRAFT: "info",
    InvoiceStatus.OPEN: "warning",
    InvoiceStatus.PAID: "success",
    InvoiceStatus.UNCOLLECTIBLE: "danger",
}


@admin.register(models.Invoice)
class InvoiceAdmin(ReadOnlyModelAdmin):
    """Invoices with their lines and what they posted to the ledger."""

    list_display = ("number_or_id", "tenant", "state", "period", "total", "due", "due_on")
    list_filter = ("status", "currency", "book", "period_start", "due_at")
    search_fields = ("id", "number", "tenant__id", "tenant__name", "subscription__id")
    list_select_related = ("tenant",)
    readonly_fields = ("ledger_entries",)
    inlines = (LineItemInline, LateUsageInline)

    @admin.display(description="Invoice", ordering="id")
    def number_or_id(self, invoice: models.Invoice) -> str:
        """Its number; a draft has none yet."""
        return str(invoice)

    @display(description="Status", ordering="status", label=_STATUS_COLOURS)
    def state(self, invoice: models.Invoice) -> str:
        """The status, coloured."""
        return invoice.status

    @admin.display(description="Period", ordering="period_start")
    def period(self, invoice: models.Invoice) -> str:
        """From its first day to the day that it ends before, in UTC."""
        return f"{invoice.period_start:%Y-%m-%d} to {invoice.period_end:%Y-%m-%d}"

    @admin.display(description="Due on", ordering="due_at", empty_value="-")
    def due_on(self, invoice: models.Invoice) -> str | None:
        """The day, in UTC."""
        return f"{invoice.due_at:%Y-%m-%d}" if invoice.due_at else None

    @admin.display(description="Total", ordering="total_cents")
    def total(self, invoice: models.Invoice) -> str:
        """The total with its currency."""
        return money.format_cents(invoice.total_cents, invoice.currency)

    @admin.display(description="Due", ordering="amount_due_cents")
    def due(self, invoice: models.Invoice) -> str:
        """What is due with its currency."""
        return money.format_cents(invoice.amount_due_cents, invoice.currency)

    @admin.display(description="Ledger entries")
    def ledger_entries(self, invoice: models.Invoice) -> str:
        """What the invoice posted, one row for each debit and credit."""
        rows = [
            (
                entry.transaction.public_id,
                entry.transaction.kind,
                entry.account.type,
                entry.entry_type,
                money.format_cents(entry.amount_cents, entry.currency),
            )
            for entry in _entries_of(invoice)
        ]
        if not rows:
            return "none"
        cells = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", rows)
        return format_html("<table>{}</table>", cells)


@admin.register(models.LineItem)
class LineItemAdmin(ReadOnlyModelAdmin):
    """Lines of all invoices."""

    list_display = ("id", "invoice", "kind", "meter", "description", "quantity", "amount_cents")
    list_filter = ("kind", "period_start")
    search_fields = ("id", "invoice__id", "invoice__number", "meter", "description")
    list_select_related = ("invoice",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.LineItem]:
        """Newest first; the model's own order is that of one invoice."""
        lines: QuerySet[models.LineItem] = super().get_queryset(request)
        return lines.order_by("-id")


@admin.register(models.NumberSeries)
class NumberSeriesAdmin(ReadOnlyModelAdmin):
    """The last number of each series."""

    list_display = ("book", "year", "kind", "last_number")
    list_filter = ("year", "kind")
    search_fields = ("book",)


@admin.register(models.RecognitionSchedule)
class RecognitionScheduleAdmin(ReadOnlyModelAdmin):
    """Fees billed in advance: what is earned of each line, and what is planned."""

    list_display = ("id", "invoice", "tenant", "starts_on", "ends_on", "amount", "earned", "deferred", "closed_on")
    list_filter = ("book", "currency", "starts_on", "closed_on")
    search_fields = ("id", "invoice__id", "invoice__number", "tenant__id", "tenant__name")
    list_select_related = ("invoice", "tenant")
    readonly_fields = ("plan",)

    @admin.display(description="Amount", ordering="amount_cents")
    def amount(self, schedule: models.RecognitionSchedule) -> str:
        """The whole amount with its currency."""
        return money.format_cents(schedule.amount_cents, schedule.currency)

    @admin.display(description="Earned", ordering="earned_cents")
    def earned(self, schedule: models.RecognitionSchedule) -> str:
        """What is earned with its currency."""
        return money.format_cents(schedule.earned_cents, schedule.currency)

    @admin.display(description="Deferred")
    def deferred(self, schedule: models.RecognitionSchedule) -> str:
        """What is not earned yet with its currency."""
        return money.format_cents(schedule.deferred_cents, schedule.currency)

    @admin.display(description="Plan by month")
    def plan(self, schedule: models.RecognitionSchedule) -> str:
        """What each month earns."""
        rows = [
            (month.month, month.days, money.format_cents(month.amount_cents, schedule.currency))
            for month in recognition.planned_months(schedule)
        ]
        cells = format_html_join("", "<tr><td>{}</td><td>{} days</td><td>{}</td></tr>", rows)
        return format_html("<table>{}</table>", cells)


@admin.register(models.RecognitionProgress)
class RecognitionProgressAdmin(ReadOnlyModelAdmin):
    """Up to which day each book has earned its fees."""

    list_display = ("book", "currency", "recognized_through_on")
    list_filter = ("currency", "recognized_through_on")
    search_fields = ("book", "currency")


class LateNow(admin.SimpleListFilter):
    """Whether anything is late now: what came late may have been taken back."""

    title = "late now"
    parameter_name = "late"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Yes, or taken back."""
        return [("yes", "yes"), ("no", "taken back")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[models.LateUsage]) -> QuerySet[models.LateUsage]:
        """The rows of which that is true."""
        nothing = Q(quantity=0) & (Q(event_count=0) | Q(event_count=None))
        match self.value():
            case "yes":
                return queryset.exclude(nothing)
            case "no":
                return queryset.filter(nothing)
            case _:
                return queryset


@admin.register(models.LateUsage)
class LateUsageAdmin(ReadOnlyModelAdmin):
    """What came after an invoice was finalized, which it does not bill."""

    list_display = ("invoice", "tenant", "meter", "event_count", "quantity", "first_noticed_at", "changed_at")
    list_filter = (LateNow, "changed_at")
    search_fields = ("invoice__id", "invoice__number", "invoice__tenant__id", "meter")
    list_select_related = ("invoice",)

    @admin.display(description="Tenant", ordering="invoice__tenant")
    def tenant(self, late: models.LateUsage) -> str:
        """Whose usage it is."""
        return str(late.invoice.tenant_id)


@admin.register(models.BilledUsage)
class BilledUsageAdmin(ReadOnlyModelAdmin):
    """What the meters said when invoices were finalized."""

    list_display = ("invoice", "meter", "quantity", "event_count")
    list_filter = ("invoice__period_start",)
    search_fields = ("invoice__id", "invoice__number", "invoice__tenant__id", "meter")
    list_select_related = ("invoice",)


@admin.register(models.UsageChange)
class UsageChangeAdmin(ReadOnlyModelAdmin):
    """Invoices whose usage changed and that the next sweep looks at."""

    list_display = ("invoice", "noticed_at")
    list_filter = ("noticed_at",)
    search_fields = ("invoice__id", "invoice__number", "invoice__tenant__id")
    list_select_related = ("invoice",)


@admin.register(models.UsageCursor)
class UsageCursorAdmin(ReadOnlyModelAdmin):
    """How far metering's changed windows were read."""

    list_display = ("shard", "window_id", "read_at")
    list_filter = ("read_at",)
    search_fields = ("shard",)


def _entries_of(invoice: models.Invoice) -> QuerySet[Entry]:
    entries = Entry.objects.filter(transaction__reference_type="invoice", transaction__reference_id=invoice.pk)
    return entries.select_related("transaction", "account").order_by("transaction_id", "line_no")
