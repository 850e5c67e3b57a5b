"""Months of events that left the database for the archive."""

from typing import Final

from django.db import models

SHA256_LENGTH: Final = 64


class ArchivedMonth(models.Model):
    """
    What became of a month of events: sealed, archived, dropped, restored. Only functions of the database write here.

    A sealed month takes no more events, whoever writes them. ``verified_at``: the archive was read back, and holds what
    the database held: ``event_count`` events, ``quantity`` in all, and ``digest``, the sum of a hash of each event.
    ``dropped_at``: its events are in the archive alone. ``restored_at``: it is open again, as if never sealed.
    """

    month = models.DateField(primary_key=True)
    sealed_at = models.DateTimeField()
    event_count = models.BigIntegerField(null=True)
    quantity = models.DecimalField(max_digits=38, decimal_places=0, null=True)
    digest = models.DecimalField(max_digits=38, decimal_places=0, null=True)
    manifest_path = models.TextField(blank=True, default="")
    manifest_sha256 = models.CharField(max_length=SHA256_LENGTH, blank=True, default="")
    verified_at = models.DateTimeField(null=True)
    dropped_at = models.DateTimeField(null=True)
    restored_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "metering_archived_month"
        ordering = ["-month"]
        constraints = [
            models.CheckConstraint(
                name="metering_archived_month_is_dropped_after_it_is_verified",
                condition=models.Q(dropped_at__isnull=True)
                | models.Q(verified_at__isnull=False, dropped_at__gte=models.F("verified_at")),
            ),
            models.CheckConstraint(
                name="metering_archived_month_is_verified_with_its_figures",
                condition=models.Q(verified_at__isnull=True)
                | models.Q(event_count__isnull=False, quantity__isnull=False, digest__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class ArchivedFile(models.Model):
    """
    One day of a sealed month, as a Parquet file in the archive; the figures are those found when it was read back.

    ``last_arrival_at`` is when the last of its events arrived. ``keys_expired_at``: its idempotency keys are forgotten.
    """

    id = models.BigAutoField(primary_key=True)
    month = models.DateField()
    day = models.DateField()
    path = models.TextField()
    sha256 = models.CharField(max_length=SHA256_LENGTH)
    size_bytes = models.BigIntegerField()
    event_count = models.BigIntegerField()
    quantity = models.DecimalField(max_digits=38, decimal_places=0)
    digest = models.DecimalField(max_digits=38, decimal_places=0)
    last_arrival_at = models.DateTimeField()
    created_at = models.DateTimeField()
    keys_expired_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "metering_archived_file"
        ordering = ["-day"]
        constraints = [
            models.UniqueConstraint(fields=["day"], name="metering_archived_file_is_one_per_day"),
        ]

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d}"
