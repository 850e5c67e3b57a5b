"""Events as they came, the keys that make each count once, and the windows that they touched."""

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


class TouchedStage(models.TextChoices):
    """What a touched window waits for: to be summed from its events, then to be counted in its day and month."""

    RECOMPUTE = "recompute"
    ROLL_UP = "roll_up"


class TouchedWindow(models.Model):
    """
    The windows (a series and an hour) that one batch put events into, and that must be recomputed.

    ``series_ids`` and ``hours`` belong together place by place. Aggregation claims a row by deleting it; ``started_at``
    is when its batch began, by the database's clock. ``shard`` is that of all its series. ``oldest_xid`` is the oldest
    transaction that the batch could not see when it began; null where no batch made the row.
    """

    id = models.BigAutoField(primary_key=True)
    batch_id = models.BigIntegerField()
    shard = models.SmallIntegerField()
    started_at = models.DateTimeField(db_index=True)
    series_ids = ArrayField(models.IntegerField())
    hours = ArrayField(models.IntegerField())
    oldest_xid = models.BigIntegerField(null=True)
    stage = models.CharField(
        max_length=9, choices=TouchedStage.choices, default=TouchedStage.RECOMPUTE, db_default=TouchedStage.RECOMPUTE
    )

    class Meta:
        db_table = "metering_touched_window"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                name="metering_touched_window_pairs_series_and_hours",
                condition=models.Q(series_ids__len__gt=0, series_ids__len=models.F("hours__len")),
            ),
            models.CheckConstraint(
                name="metering_touched_window_stage_is_known",
                condition=models.Q(stage__in=TouchedStage.values),
            ),
        ]
        indexes = [
            models.Index(
                fields=["shard", "id"], name="metering_touched_roll_up", condition=models.Q(stage=TouchedStage.ROLL_UP)
            ),
        ]

    def __str__(self) -> str:
        return f"batch {self.batch_id}"
