"""Events that were not taken."""

from django.db import models

from billing_site.kernel import fields


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
