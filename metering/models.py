"""
Metering's tables.

The event store (``Event``) is a partitioned table that a migration makes by SQL; the others are made by Django. All
times are UTC. Nothing here has a foreign key: an event's series is looked up in the transaction that stores it, and
neither can be deleted.
"""

from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.db import models

from billing_site.kernel import fields

EVENT_TYPE_PATTERN: Final = r"[a-z0-9_.-]{1,100}"


class Series(models.Model):
    """All events of one tenant and type: a small number in each event in place of two texts."""

    id = models.AutoField(primary_key=True)
    tenant_id = fields.CodeField()
    event_type = models.CharField(max_length=100)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "metering_series"
        verbose_name_plural = "series"
        ordering = ["tenant_id", "event_type"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "event_type"],
                name="metering_series_is_one_per_tenant_and_type",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.event_type}"


class EventKey(models.Model):
    """
    That an idempotency key of a tenant was used, and for what: it makes an event count once, whatever its time.

    ``key_hash`` is of tenant and key, ``payload_hash`` of what was sent under it; ``series_id`` and ``event_hour`` say
    where the event lies. It is written with its event or not at all.
    """

    key_hash = models.UUIDField(primary_key=True)
    payload_hash = models.BigIntegerField()
    batch_id = models.BigIntegerField()
    created_at = models.DateTimeField()
    series_id = models.IntegerField()
    event_hour = models.IntegerField()

    class Meta:
        db_table = "metering_event_key"

    def __str__(self) -> str:
        return str(self.key_hash)


class Event(models.Model):
    """
    One metering event as it came. ``event_hour`` is the hour of ``event_timestamp``, counted from 1970.

    ``event_timestamp`` says when it happened, ``created_at`` when we learned it.
    """

    key_hash = models.UUIDField(primary_key=True)
    event_timestamp = models.DateTimeField()
    quantity = models.BigIntegerField()
    batch_id = models.BigIntegerField()
    created_at = models.DateTimeField()
    event_hour = models.IntegerField()
    series_id = models.IntegerField()
    void = models.BooleanField()
    idempotency_key = models.TextField()
    source = models.TextField()
    corrects = models.TextField(null=True)  # noqa: DJ001  (most events correct nothing, and null costs nothing)
    properties = models.JSONField()

    class Meta:
        managed = False
        db_table = "metering_event"
        verbose_name = "metering event"

    def __str__(self) -> str:
        return self.idempotency_key


class TouchedWindow(models.Model):
    """
    The windows (a series and an hour) that one batch put events into, and that must be recomputed.

    ``series_ids`` and ``hours`` belong together place by place. Aggregation claims a row by deleting it; ``started_at``
    is when its batch began, by the database's clock. ``shard`` is that of all its series.
    """

    id = models.BigAutoField(primary_key=True)
    batch_id = models.BigIntegerField()
    shard = models.SmallIntegerField()
    started_at = models.DateTimeField(db_index=True)
    series_ids = ArrayField(models.IntegerField())
    hours = ArrayField(models.IntegerField())

    class Meta:
        db_table = "metering_touched_window"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                name="metering_touched_window_pairs_series_and_hours",
                condition=models.Q(series_ids__len__gt=0, series_ids__len=models.F("hours__len")),
            ),
        ]

    def __str__(self) -> str:
        return f"batch {self.batch_id}"


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


class DeadLetterState(models.TextChoices):
    """What became of a dead letter."""

    OPEN = "open"


class DeadLetter(models.Model):
    """
    An event that was not taken, as it was sent, with the reason. The same payload sent again adds to ``count``.

    ``tenant_id`` is the tenant that sent it, or empty where the payload does not tell. ``payload`` is the text as sent,
    cut at its limit; ``payload_digest`` is of all of it.
    """

    id = fields.PrefixedIdField(prefix="dl")
    tenant_id = models.CharField(max_length=64, blank=True, default="")
    payload_digest = models.UUIDField()
    payload = models.TextField()
    code = models.CharField(max_length=64)
    detail = models.TextField()
    source = models.CharField(max_length=100)
    count = models.BigIntegerField(default=1)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    state = models.CharField(max_length=16, choices=DeadLetterState.choices, default=DeadLetterState.OPEN)

    class Meta:
        db_table = "metering_dead_letter"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "payload_digest"],
                name="metering_dead_letter_is_one_per_tenant_and_payload",
            ),
            models.CheckConstraint(
                name="metering_dead_letter_was_seen",
                condition=models.Q(count__gte=1, last_seen_at__gte=models.F("first_seen_at")),
            ),
            models.CheckConstraint(
                name="metering_dead_letter_state_is_known",
                condition=models.Q(state__in=DeadLetterState.values),
            ),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "-id"], name="metering_dead_letter_by_tenant"),
            models.Index(fields=["-id"], name="metering_dead_letter_open", condition=models.Q(state="open")),
        ]

    def __str__(self) -> str:
        return f"{self.pk} {self.code}"
