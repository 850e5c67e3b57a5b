"""Fees billed in advance: what each line left in deferred revenue, and up to which day the books have earned them."""

from django.db import models
from django.db.models import F, Q

from billing_site.kernel import fields
from invoicing.models.invoices import Invoice, LineItem
from invoicing.models.tenants import Tenant


class RecognitionSchedule(models.Model):
    """
    One line of a finalized invoice that is earned by the day; closed when all of it is.

    ``starts_on <= day < ends_on`` are calendar days in ``time_zone``. ``due_from_on`` is the first day of the books
    that counts it: the first of its own, or the day of finalization where that came later. The amount is negative for
    the unused days of a fee that was paid in advance. What was earned only goes forward, by trigger.
    """

    id = fields.PrefixedIdField(prefix="rs")
    line = models.OneToOneField(LineItem, on_delete=models.PROTECT, related_name="recognition_schedule")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="recognition_schedules")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    book = fields.CodeField()
    currency = fields.CurrencyField()
    time_zone = models.CharField(max_length=64)
    starts_on = models.DateField()
    ends_on = models.DateField()
    due_from_on = models.DateField()
    amount_cents = models.BigIntegerField()
    earned_cents = models.BigIntegerField(default=0)
    closed_on = models.DateField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "invoicing_recognition_schedule"
        ordering = ["-id"]
        indexes = [
            # Only what is open: a day's work does not grow with history.
            models.Index(
                fields=["book", "currency", "due_from_on"],
                name="invoicing_recognition_open",
                condition=Q(closed_on=None),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="invoicing_recognition_has_days",
                condition=Q(starts_on__lt=F("ends_on")) & Q(due_from_on__gte=F("starts_on")),
            ),
            models.CheckConstraint(
                name="invoicing_recognition_earns_no_more_than_it_has",
                condition=Q(amount_cents__gt=0, earned_cents__gte=0, earned_cents__lte=F("amount_cents"))
                | Q(amount_cents__lt=0, earned_cents__lte=0, earned_cents__gte=F("amount_cents")),
            ),
            models.CheckConstraint(
                name="invoicing_recognition_is_closed_when_all_is_earned",
                condition=Q(closed_on=None) & ~Q(earned_cents=F("amount_cents"))
                | Q(closed_on__isnull=False, earned_cents=F("amount_cents")),
            ),
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def days(self) -> int:
        """How many days it is earned over."""
        return (self.ends_on - self.starts_on).days

    @property
    def deferred_cents(self) -> int:
        """What is not earned yet."""
        return self.amount_cents - self.earned_cents


class RecognitionProgress(models.Model):
    """Up to which day a book has earned its fees in one currency. Only goes forward, by trigger."""

    id = models.BigAutoField(primary_key=True)
    book = fields.CodeField()
    currency = fields.CurrencyField()
    recognized_through_on = models.DateField(null=True, blank=True)

    class Meta:
        db_table = "invoicing_recognition_progress"
        ordering = ["book", "currency"]
        verbose_name_plural = "recognition progress"
        constraints = [
            models.UniqueConstraint(fields=["book", "currency"], name="invoicing_recognition_progress_is_one"),
        ]

    def __str__(self) -> str:
        return f"{self.book} {self.currency}: {self.recognized_through_on}"
