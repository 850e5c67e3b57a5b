"""How much usage of a tenant someone wants to hear of, or allows, and when it was reached."""

from typing import Final

from django.db import models

from billing_site.kernel import fields
from metering.models.summaries import Granularity

MAX_THRESHOLD_QUANTITY: Final = 10**18


class ThresholdAction(models.TextChoices):
    """What happens when a threshold is reached."""

    ALERT = "alert"
    REFUSE = "refuse"


class UsageThreshold(models.Model):
    """
    A quantity of a tenant's meter, per hour, day or month of the UTC calendar.

    ``event_type`` is what the meter counts, and what is refused at the door where ``action`` is refuse. It is never
    edited: who wants another makes another, and deactivates this one.
    """

    id = fields.PrefixedIdField(prefix="uth")
    tenant_id = fields.CodeField()
    meter = models.CharField(max_length=100)
    event_type = models.CharField(max_length=100)
    quantity = models.BigIntegerField()
    period = models.CharField(max_length=5, choices=Granularity.choices)
    action = models.CharField(max_length=6, choices=ThresholdAction.choices)
    created_at = models.DateTimeField()
    deactivated_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "metering_usage_threshold"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "meter", "period", "action", "quantity"],
                name="metering_usage_threshold_is_active_once",
                condition=models.Q(deactivated_at=None),
            ),
            models.CheckConstraint(
                name="metering_usage_threshold_quantity_is_in_bounds",
                condition=models.Q(quantity__gte=1, quantity__lte=MAX_THRESHOLD_QUANTITY),
            ),
            models.CheckConstraint(
                name="metering_usage_threshold_period_is_known",
                condition=models.Q(period__in=Granularity.values),
            ),
            models.CheckConstraint(
                name="metering_usage_threshold_action_is_known",
                condition=models.Q(action__in=ThresholdAction.values),
            ),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "-id"], name="metering_threshold_by_tenant"),
            models.Index(fields=["period"], name="metering_threshold_active", condition=models.Q(deactivated_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.meter} {self.action} at {self.quantity} a {self.period}"


class ThresholdFiring(models.Model):
    """
    That a threshold was reached in a period: once, whatever the usage does after that.

    ``reached_quantity`` is what the meter stood at when that was seen, cut to a whole number.
    """

    id = fields.PrefixedIdField(prefix="utf")
    threshold = models.ForeignKey(UsageThreshold, on_delete=models.PROTECT, related_name="firings", db_index=False)
    tenant_id = fields.CodeField()
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    reached_quantity = models.DecimalField(max_digits=38, decimal_places=0)
    fired_at = models.DateTimeField()

    class Meta:
        db_table = "metering_threshold_firing"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["threshold", "period_start"],
                name="metering_threshold_fires_once_a_period",
            ),
            models.CheckConstraint(
                name="metering_threshold_firing_has_a_period",
                condition=models.Q(period_end__gt=models.F("period_start")),
            ),
        ]
        indexes = [
            models.Index(fields=["period_end"], name="metering_firing_by_period_end"),
            models.Index(fields=["tenant_id", "-id"], name="metering_firing_by_tenant"),
        ]

    def __str__(self) -> str:
        return f"{self.threshold_id} {self.period_start}"
