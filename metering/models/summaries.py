"""What events add up to."""

from django.db import models

from billing_site.kernel import fields


class Granularity(models.TextChoices):
    """How long a window is."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class UsageSummary(models.Model):
    """
    What a meter of a tenant adds up to in one window, recomputed from its events and never incremented.

    ``group_key`` is empty for the whole window.
    """

    id = models.BigAutoField(primary_key=True)
    tenant_id = fields.CodeField()
    meter = models.CharField(max_length=100)
    group_key = models.TextField(blank=True, default="")
    granularity = models.CharField(max_length=5, choices=Granularity.choices)
    period_start = models.DateTimeField()
    total = models.DecimalField(max_digits=38, decimal_places=0)
    event_count = models.BigIntegerField()
    maximum = models.BigIntegerField(null=True)
    latest = models.BigIntegerField(null=True)
    computed_at = models.DateTimeField()

    class Meta:
        db_table = "metering_usage_summary"
        verbose_name_plural = "usage summaries"
        ordering = ["-period_start", "tenant_id", "meter"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "meter", "group_key", "granularity", "period_start"],
                name="metering_usage_summary_is_one_per_window",
            ),
            models.CheckConstraint(
                name="metering_usage_summary_is_not_negative",
                condition=models.Q(total__gte=0, event_count__gte=0),
            ),
            models.CheckConstraint(
                name="metering_usage_summary_granularity_is_known",
                condition=models.Q(granularity__in=Granularity.values),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.meter} {self.granularity} {self.period_start}"
