"""Days and hours whose usage stands out from the days before."""

from django.db import models

from billing_site.kernel import fields


class AnomalyKind(models.TextChoices):
    """What stood out."""

    DAY_TOTAL = "day_total"
    HOUR_SPIKE = "hour_spike"


class AnomalyState(models.TextChoices):
    """Whether a person has seen it."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"


class UsageAnomaly(models.Model):
    """
    That the usage of a tenant's event type stood out on a UTC day: one finding a day, by what was seen first.

    ``observed_quantity`` is what was used from ``window_start`` to ``window_end``; ``expected_quantity`` the mean of
    the same window on ``history_days`` days before, and ``deviation`` their sample standard deviation. ``z_score`` is
    how many deviations lie between, below zero for a drop, and null where all days before were the same.
    """

    id = fields.PrefixedIdField(prefix="ano")
    tenant_id = fields.CodeField()
    event_type = models.CharField(max_length=100)
    day = models.DateField()
    kind = models.CharField(max_length=10, choices=AnomalyKind.choices)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    observed_quantity = models.DecimalField(max_digits=38, decimal_places=0)
    expected_quantity = models.DecimalField(max_digits=50, decimal_places=6)
    deviation = models.DecimalField(max_digits=50, decimal_places=6)
    z_score = models.DecimalField(max_digits=50, decimal_places=4, null=True, blank=True)
    history_days = models.PositiveSmallIntegerField()
    detected_at = models.DateTimeField()
    state = models.CharField(max_length=12, choices=AnomalyState.choices, default=AnomalyState.OPEN)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        db_table = "metering_usage_anomaly"
        verbose_name_plural = "usage anomalies"
        ordering = ["-id"]
        permissions = [("acknowledge_usageanomaly", "Can acknowledge usage anomalies")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "event_type", "day"],
                name="metering_usage_anomaly_is_one_a_day",
            ),
            models.CheckConstraint(
                name="metering_usage_anomaly_kind_is_known",
                condition=models.Q(kind__in=AnomalyKind.values),
            ),
            models.CheckConstraint(
                name="metering_usage_anomaly_is_acknowledged_by_someone",
                condition=(
                    models.Q(state="open", acknowledged_at=None, acknowledged_by="")
                    | (models.Q(state="acknowledged", acknowledged_at__isnull=False) & ~models.Q(acknowledged_by=""))
                ),
            ),
            models.CheckConstraint(
                name="metering_usage_anomaly_has_a_z_score_where_days_differed",
                condition=models.Q(z_score=None, deviation=0) | models.Q(z_score__isnull=False, deviation__gt=0),
            ),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "-id"], name="metering_anomaly_by_tenant"),
            models.Index(fields=["-id"], name="metering_anomaly_open", condition=models.Q(state="open")),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.event_type} {self.day}"
