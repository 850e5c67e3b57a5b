"""What ingestion keeps beside events: corrections of earlier events, and what was sent again."""

from django.db import models

from billing_site.kernel import fields


class CorrectionFault(models.TextChoices):
    """Why a correction that came before its original corrects nothing."""

    NONE = "", "none"
    CORRECTS_A_CORRECTION = "corrects_a_correction", "corrects a correction"
    CORRECTS_ANOTHER_TYPE = "corrects_another_type", "corrects another type"


class Correction(models.Model):
    """
    That one event (``correction_key_hash``) gives another (``original_key_hash``) a new quantity, 0 where it voids it.

    The latest by ``created_at``, ``batch_id``, ``position`` counts, in the original's window (``original_series_id``,
    ``original_event_hour``), which are null until the original is known. ``series_id`` and ``event_hour`` are where the
    correction itself lies, as an event that never counts. ``xid`` is the transaction that stored it.
    """

    correction_key_hash = models.UUIDField(primary_key=True)
    original_key_hash = models.UUIDField(db_index=True)
    quantity = models.BigIntegerField()
    void = models.BooleanField()
    batch_id = models.BigIntegerField()
    position = models.IntegerField()
    created_at = models.DateTimeField()
    xid = models.BigIntegerField()
    series_id = models.IntegerField()
    event_hour = models.IntegerField()
    original_series_id = models.IntegerField(null=True)
    original_event_hour = models.IntegerField(null=True)
    fault = models.CharField(max_length=32, choices=CorrectionFault.choices, blank=True, default=CorrectionFault.NONE)

    class Meta:
        db_table = "metering_correction"
        ordering = ["-created_at", "-batch_id", "-position"]
        constraints = [
            models.CheckConstraint(
                name="metering_correction_knows_its_original_whole",
                condition=models.Q(original_series_id__isnull=True, original_event_hour__isnull=True)
                | models.Q(original_series_id__isnull=False, original_event_hour__isnull=False, fault=""),
            ),
            models.CheckConstraint(
                name="metering_correction_that_voids_has_no_quantity",
                condition=models.Q(void=False) | models.Q(quantity=0),
            ),
            models.CheckConstraint(
                name="metering_correction_is_of_another_event",
                condition=~models.Q(correction_key_hash=models.F("original_key_hash")),
            ),
            models.CheckConstraint(
                name="metering_correction_fault_is_known",
                condition=models.Q(fault__in=CorrectionFault.values),
            ),
        ]
        indexes = [
            models.Index(fields=["series_id", "event_hour"], name="metering_correction_by_own"),
            models.Index(
                fields=["original_series_id", "original_event_hour"],
                name="metering_correction_by_origin",
                condition=models.Q(original_event_hour__isnull=False),
            ),
            models.Index(
                fields=["xid"],
                name="metering_correction_pending",
                condition=models.Q(original_event_hour__isnull=True, fault=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.correction_key_hash} corrects {self.original_key_hash}"


class RepeatedEvent(models.Model):
    """
    How many events of one batch, tenant, type and hour were sent before: as they were, or with other values.

    ``event_hour`` is that of the event as sent again. After two days the rows of many batches are added up, under the
    batch 0, and these are kept for 90 days (``repeats``).
    """

    id = models.BigAutoField(primary_key=True)
    batch_id = models.BigIntegerField()
    tenant_id = fields.CodeField()
    event_type = models.CharField(max_length=100)
    event_hour = models.IntegerField()
    duplicates = models.IntegerField()
    conflicts = models.IntegerField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "metering_repeated_event"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                name="metering_repeated_event_counts_something",
                condition=models.Q(duplicates__gte=0, conflicts__gte=0) & ~models.Q(duplicates=0, conflicts=0),
            ),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "event_hour"], name="metering_repeated_by_hour"),
            models.Index(fields=["id"], name="metering_repeated_single", condition=~models.Q(batch_id=0)),
        ]

    def __str__(self) -> str:
        return f"batch {self.batch_id}: {self.tenant_id} {self.event_type}"
