"""What finalized invoices billed, which usage came after, and how invoicing hears that usage changed."""

from typing import Final

from django.db import models
from django.db.models import F, Q

from invoicing.models.invoices import Invoice


class BilledUsage(models.Model):
    """
    What a meter had counted when its invoice was finalized: what late usage is told apart by. Never changes.

    ``event_count`` is null for invoices that were finalized before it was kept.
    """

    id = models.BigAutoField(primary_key=True)
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="billed_usage")
    meter = models.CharField(max_length=100)
    quantity = models.DecimalField(max_digits=50, decimal_places=12)
    event_count = models.BigIntegerField(null=True, blank=True)

    class Meta:
        db_table = "invoicing_billed_usage"
        ordering = ["-id"]
        verbose_name_plural = "billed usage"
        constraints = [
            models.UniqueConstraint(fields=["invoice", "meter"], name="invoicing_billed_usage_is_one_per_meter"),
            models.CheckConstraint(
                name="invoicing_billed_usage_is_not_negative",
                condition=Q(quantity__gte=0) & (Q(event_count=None) | Q(event_count__gte=0)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.invoice_id} {self.meter}"


_LATE_NOW: Final = ~Q(quantity=0) | ~Q(event_count=0)


class LateUsage(models.Model):
    """
    What a meter counts now beyond what its invoice billed; recomputed, never added up.

    Both may be negative: a correction can take usage back. Zero where what was late was taken back again.
    """

    id = models.BigAutoField(primary_key=True)
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="late_usage")
    meter = models.CharField(max_length=100)
    quantity = models.DecimalField(max_digits=50, decimal_places=12)
    event_count = models.BigIntegerField(null=True, blank=True)
    first_noticed_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    class Meta:
        db_table = "invoicing_late_usage"
        ordering = ["-id"]
        verbose_name_plural = "late usage"
        indexes = [
            # The figure on the dashboard looks at what is late now and nothing else.
            models.Index(
                fields=["changed_at"],
                name="invoicing_late_usage_open",
                condition=_LATE_NOW,
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["invoice", "meter"], name="invoicing_late_usage_is_one_per_meter"),
            models.CheckConstraint(
                name="invoicing_late_usage_was_noticed_before_it_changed",
                condition=Q(first_noticed_at__lte=F("changed_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.invoice_id} {self.meter}"

    @staticmethod
    def is_late_now() -> Q:
        """The rows that the index of what is late now holds."""
        return _LATE_NOW


class UsageChange(models.Model):
    """
    A due row: usage of the invoice's period changed. A draft is refreshed, a finalized invoice counts it as late.

    Without a foreign key in the database, which would lock the invoice: who notices changes of many invoices would wait
    for those that are being finalized, these for each other's balances, and some for the notices.
    """

    invoice = models.OneToOneField(
        Invoice, on_delete=models.CASCADE, primary_key=True, related_name="usage_change", db_constraint=False
    )
    noticed_at = models.DateTimeField()

    class Meta:
        db_table = "invoicing_usage_change"
        ordering = ["invoice_id"]

    def __str__(self) -> str:
        return str(self.invoice_id)


class UsageCursor(models.Model):
    """How far metering's changed windows were read: the last id of each shard, in which ids become visible in order."""

    shard = models.SmallIntegerField(primary_key=True)
    window_id = models.BigIntegerField(default=0)
    read_at = models.DateTimeField()

    class Meta:
        db_table = "invoicing_usage_cursor"
        ordering = ["shard"]

    def __str__(self) -> str:
        return f"shard {self.shard}"
