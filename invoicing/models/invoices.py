"""Invoices and their lines. What is finalized is frozen by triggers; see ``migrations/sql/invoices.sql``."""

from django.db import models
from django.db.models import F, Q

from billing_site.kernel import fields
from invoicing.models.catalog import Price
from invoicing.models.subscriptions import Subscription
from invoicing.models.tenants import Tenant


class InvoiceStatus(models.TextChoices):
    """The lifecycle of an invoice."""

    DRAFT = "draft", "Draft"
    OPEN = "open", "Open"
    PAID = "paid", "Paid"
    VOID = "void", "Void"
    UNCOLLECTIBLE = "uncollectible", "Uncollectible"


class LineKind(models.TextChoices):
    """Why a line stands on an invoice."""

    USAGE = "usage", "Usage"
    BASE_FEE = "base_fee", "Base fee"
    PRORATION = "proration", "Proration"
    MINIMUM_COMMITMENT = "minimum_commitment", "Minimum commitment"
    ADJUSTMENT = "adjustment", "Adjustment"
    CARRIED_TO_CREDIT = "carried_to_credit", "Carried to credit"
    ONE_OFF = "one_off", "One-off"


class Invoice(models.Model):
    """
    What a tenant owes for one boundary of a subscription.

    The period is the one that ended at the boundary; the first boundary ends none, so its invoice shows the one that it
    begins. ``finalizes_at`` is the due row of finalization.
    """

    id = fields.PrefixedIdField(prefix="inv")
    book = fields.CodeField()
    number = models.CharField(max_length=40, null=True, blank=True)  # noqa: DJ001  (null: not numbered; unique)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="invoices")
    subscription = models.ForeignKey(
        Subscription, on_delete=models.PROTECT, related_name="invoices", null=True, blank=True
    )
    currency = fields.CurrencyField()
    status = models.CharField(max_length=13, choices=InvoiceStatus.choices, default=InvoiceStatus.DRAFT)
    boundary_at = models.DateTimeField(null=True, blank=True)
    revision = models.PositiveSmallIntegerField(default=0)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    finalizes_at = models.DateTimeField(null=True, blank=True)
    finalized_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    subtotal_cents = models.BigIntegerField(default=0)
    discount_cents = models.BigIntegerField(default=0)
    tax_cents = models.BigIntegerField(default=0)
    total_cents = models.BigIntegerField(default=0)
    credits_applied_cents = models.BigIntegerField(default=0)
    amount_credited_cents = models.BigIntegerField(default=0)
    amount_paid_cents = models.BigIntegerField(default=0)
    amount_due_cents = models.BigIntegerField(default=0)
    discounts = models.JSONField(default=list, blank=True)
    taxes = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "invoicing_invoice"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["tenant", "-id"], name="invoicing_invoice_of_tenant"),
            models.Index(
                fields=["finalizes_at", "id"],
                name="invoicing_invoice_to_finalize",
                condition=Q(status=InvoiceStatus.DRAFT),
            ),
            models.Index(
                fields=["due_at", "id"],
                name="invoicing_invoice_by_due_date",
                condition=Q(status=InvoiceStatus.OPEN),
            ),
            # What was not billed yet at a moment: the close of a period asks.
            models.Index(fields=["finalized_at"], name="invoicing_invoice_finalized_at"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "boundary_at", "revision"], name="invoicing_invoice_once_per_boundary"
            ),
            models.UniqueConstraint(fields=["book", "number"], name="invoicing_invoice_number_is_given_once"),
            models.CheckConstraint(
                name="invoicing_invoice_status_is_known",
                condition=Q(status__in=InvoiceStatus.values),
            ),
            models.CheckConstraint(
                name="invoicing_invoice_total_adds_up",
                condition=Q(total_cents=F("subtotal_cents") - F("discount_cents") + F("tax_cents")),
            ),
            models.CheckConstraint(
                name="invoicing_invoice_amount_due_adds_up",
                condition=Q(
                    amount_due_cents=F("total_cents")
                    - F("credits_applied_cents")
                    - F("amount_credited_cents")
                    - F("amount_paid_cents"),
                ),
            ),
            models.CheckConstraint(
                name="invoicing_invoice_amounts_are_not_negative",
                condition=Q(
                    discount_cents__gte=0,
                    total_cents__gte=0,
                    credits_applied_cents__gte=0,
                    amount_credited_cents__gte=0,
                    amount_paid_cents__gte=0,
                    amount_due_cents__gte=0,
                ),
            ),
            models.CheckConstraint(
                name="invoicing_invoice_is_numbered_unless_draft",
                condition=Q(status=InvoiceStatus.DRAFT, number=None, finalized_at=None, due_at=None)
                | (
                    ~Q(status=InvoiceStatus.DRAFT)
                    & Q(number__isnull=False, finalized_at__isnull=False, due_at__isnull=False)
                ),
            ),
            models.CheckConstraint(
                name="invoicing_invoice_is_paid_when_nothing_is_due",
                condition=Q(status=InvoiceStatus.PAID, amount_due_cents=0, paid_at__isnull=False)
                | (~Q(status=InvoiceStatus.PAID) & Q(paid_at=None)),
            ),
            models.CheckConstraint(
                name="invoicing_open_invoice_has_something_due",
                condition=~Q(status__in=[InvoiceStatus.OPEN, InvoiceStatus.UNCOLLECTIBLE]) | Q(amount_due_cents__gt=0),
            ),
            models.CheckConstraint(
                name="invoicing_draft_has_no_payments",
                condition=~Q(status=InvoiceStatus.DRAFT)
                | Q(credits_applied_cents=0, amount_credited_cents=0, amount_paid_cents=0),
            ),
            models.CheckConstraint(
                name="invoicing_invoice_period_is_not_reversed",
                condition=Q(period_start__lte=F("period_end")),
            ),
            models.CheckConstraint(
                name="invoicing_invoice_of_a_subscription_has_a_boundary",
                condition=Q(subscription=None, boundary_at=None)
                | Q(subscription__isnull=False, boundary_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.number or self.id

    @property
    def bills_usage(self) -> bool:
        """Whether its period ended at its boundary; the first invoice bills only what begins."""
        return self.boundary_at is not None and self.period_end == self.boundary_at


class LineItem(models.Model):
    """
    One line of an invoice.

    Units: ``quantity`` counts raw units of the meter, ``tiers`` priced units. ``unrounded_amount_cents`` is the exact
    amount as text (a decimal, or ``10/3`` where none is exact), of which ``amount_cents`` is the rounding.
    """

    id = fields.PrefixedIdField(prefix="li")
    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="lines")
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=18, choices=LineKind.choices)
    meter = models.CharField(max_length=100, blank=True, default="")
    price = models.ForeignKey(Price, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    description = models.CharField(max_length=500)
    quantity = models.DecimalField(max_digits=50, decimal_places=12)
    unit_amount_cents = models.DecimalField(max_digits=30, decimal_places=12, null=True, blank=True)
    unrounded_amount_cents = models.TextField()
    amount_cents = models.BigIntegerField()
    tiers = models.JSONField(default=list, blank=True)
    calculation = models.JSONField(null=True, blank=True)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()

    class Meta:
        db_table = "invoicing_line_item"
        ordering = ["invoice_id", "position"]
        constraints = [
            models.UniqueConstraint(fields=["invoice", "position"], name="invoicing_line_item_has_one_place"),
            models.CheckConstraint(name="invoicing_line_item_kind_is_known", condition=Q(kind__in=LineKind.values)),
            models.CheckConstraint(
                name="invoicing_line_item_of_usage_has_a_price",
                condition=~Q(kind=LineKind.USAGE) | (Q(price__isnull=False) & ~Q(meter="")),
            ),
            models.CheckConstraint(
                name="invoicing_line_item_period_is_not_reversed",
                condition=Q(period_start__lte=F("period_end")),
            ),
        ]

    def __str__(self) -> str:
        return self.description


class NumberSeries(models.Model):
    """The last number given in a gapless series: one per book, year and kind of document."""

    id = models.BigAutoField(primary_key=True)
    book = fields.CodeField()
    year = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=16)
    last_number = models.PositiveIntegerField()

    class Meta:
        db_table = "invoicing_number_series"
        ordering = ["book", "-year", "kind"]
        verbose_name_plural = "number series"
        constraints = [
            models.UniqueConstraint(fields=["book", "year", "kind"], name="invoicing_number_series_is_one"),
        ]

    def __str__(self) -> str:
        return f"{self.book} {self.kind} {self.year}: {self.last_number}"
