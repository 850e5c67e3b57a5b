"""What events add up to, and what is to be known of single windows: changed, split, quarantined."""

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

    ``group_key`` is empty for the whole window, else the group as a JSON object. ``total`` is the sum of what was
    counted, ``event_count`` of how many events, ``skipped_count`` how many did not hold what the meter counts.
    ``latest`` and ``unique_count`` are told for meters that ask for them. A window all of whose events were voided, or
    that was split, may have a row of zeros. Where a tenant's hour is split, it has several rows, the later ones
    beginning at the splits; days and months are those of UTC.
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
    unique_count = models.BigIntegerField(null=True)
    skipped_count = models.BigIntegerField(default=0, db_default=0)
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
                name="metering_usage_summary_counts_are_not_negative",
                condition=models.Q(unique_count__gte=0, skipped_count__gte=0),
            ),
            models.CheckConstraint(
                name="metering_usage_summary_granularity_is_known",
                condition=models.Q(granularity__in=Granularity.values),
            ),
        ]
        indexes = [
            models.Index(
                fields=["tenant_id", "meter", "granularity", "period_start"],
                name="metering_usage_summary_groups",
                condition=~models.Q(group_key=""),
            ),
            # For whole hours of all tenants, and of no use for anything else: a partial index on the column looks best
            # for one tenant's hour too where there are no statistics yet, and then everybody's hours are read for it.
            models.Index(
                models.Case(models.When(granularity=Granularity.HOUR, group_key="", then=models.F("period_start"))),
                name="metering_usage_summary_by_hour",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.meter} {self.granularity} {self.period_start}"


class ChangedWindow(models.Model):
    """
    That an hourly summary changed, for whoever has billed it or shows it. Kept for a week.

    Rows of one shard become visible in the order of their ids: who reads on from the last id misses none. With more
    than one shard, read on from the last id of each.
    """

    id = models.BigAutoField(primary_key=True)
    shard = models.SmallIntegerField()
    tenant_id = fields.CodeField()
    meter = models.CharField(max_length=100)
    group_key = models.TextField(blank=True, default="")
    period_start = models.DateTimeField()
    old_total = models.DecimalField(max_digits=38, decimal_places=0)
    new_total = models.DecimalField(max_digits=38, decimal_places=0)
    old_count = models.BigIntegerField()
    new_count = models.BigIntegerField()
    changed_at = models.DateTimeField()

    class Meta:
        db_table = "metering_changed_window"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.meter} {self.period_start}"


class WindowSplit(models.Model):
    """A moment inside an hour at which a tenant's hour is cut in two, because a billing period begins there."""

    id = models.BigAutoField(primary_key=True)
    tenant_id = fields.CodeField()
    event_hour = models.IntegerField()
    split_at = models.DateTimeField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "metering_window_split"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "event_hour", "split_at"],
                name="metering_window_split_is_made_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.split_at}"


class QuarantineState(models.TextChoices):
    """Whether a quarantined window is tried again by itself."""

    WAITING = "waiting"
    STUCK = "stuck"


class QuarantinedWindow(models.Model):
    """
    A window that could not be recomputed, set aside so that the others go on; the row goes when it is summarised.

    ``started_at`` is the earliest of the batches that are not counted because of it. It is tried again at ``retry_at``;
    after many attempts it is ``stuck`` and waits for a person.
    """

    id = models.BigAutoField(primary_key=True)
    shard = models.SmallIntegerField()
    series_id = models.IntegerField()
    event_hour = models.IntegerField()
    state = models.CharField(max_length=8, choices=QuarantineState.choices, default=QuarantineState.WAITING)
    attempts = models.IntegerField(default=1)
    error = models.TextField()
    started_at = models.DateTimeField(db_index=True)
    first_failed_at = models.DateTimeField()
    last_failed_at = models.DateTimeField()
    retry_at = models.DateTimeField()

    class Meta:
        db_table = "metering_quarantined_window"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["series_id", "event_hour"], name="metering_quarantined_window_is_one"),
            models.CheckConstraint(
                name="metering_quarantined_window_state_is_known",
                condition=models.Q(state__in=QuarantineState.values),
            ),
        ]

    def __str__(self) -> str:
        return f"series {self.series_id} hour {self.event_hour}"
