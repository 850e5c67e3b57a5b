"""What is counted of events beyond the sum of their quantities."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from billing_site.kernel import fields


class Aggregation(models.TextChoices):
    """How a meter makes one figure of many events."""

    SUM = "sum"
    COUNT = "count"
    MAX = "max"
    AVERAGE = "average"
    UNIQUE_COUNT = "unique_count"
    LATEST = "latest"


class Meter(models.Model):
    """
    One figure counted from events of a type, for all tenants. It never changes: what was counted would mean two things.

    ``property`` names the property counted in place of ``quantity``; for a unique count, the one whose different values
    are counted. ``filters`` maps names of properties to the texts that are accepted of them. ``group_by`` names the
    properties that the figure is also told apart by.
    """

    id = models.BigAutoField(primary_key=True)
    code = fields.CodeField(unique=True)
    event_type = models.CharField(max_length=100)
    aggregation = models.CharField(max_length=12, choices=Aggregation.choices)
    property = models.CharField(max_length=100, blank=True, default="")
    filters = models.JSONField(default=dict, blank=True)
    group_by = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "metering_meter"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                name="metering_meter_aggregation_is_known",
                condition=models.Q(aggregation__in=Aggregation.values),
            ),
            models.CheckConstraint(
                name="metering_meter_counts_different_values_of_a_property",
                condition=~models.Q(aggregation="unique_count", property=""),
            ),
            models.CheckConstraint(
                name="metering_meter_groups_by_three_at_most",
                condition=models.Q(group_by__len__lte=3),
            ),
        ]
        indexes = [models.Index(fields=["event_type"], name="metering_meter_by_type")]

    def __str__(self) -> str:
        return self.code


class MeterBackfill(models.Model):
    """
    How far a new meter was computed for the events that were there before it, in one shard of series.

    Windows are done in the order of series and hours; ``series_id`` and ``event_hour`` name the last one done.
    ``started_at`` is no later than any event not counted yet. While ``finished_at`` is empty, the meter is not fresh.
    """

    id = models.BigAutoField(primary_key=True)
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="backfills")
    shard = models.SmallIntegerField()
    started_at = models.DateTimeField()
    series_id = models.IntegerField(default=0)
    event_hour = models.IntegerField(default=0)
    windows = models.BigIntegerField(default=0)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "metering_meter_backfill"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["meter", "shard"], name="metering_meter_backfill_is_one_per_shard"),
        ]
        indexes = [
            models.Index(
                fields=["shard", "id"],
                name="metering_meter_backfill_open",
                condition=models.Q(finished_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.meter_id} shard {self.shard}"
