"""Events that were not taken, and what was done about each."""

from django.db import models

from billing_site.kernel import fields


class DeadLetterState(models.TextChoices):
    """What became of a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class DeadLetter(models.Model):
    """
    An event that was not taken, as it was sent, with the latest reason. The same payload sent again adds to ``count``,
    and opens a letter again that was resolved.

    ``tenant_id`` is the tenant that sent it, or empty where the payload does not tell. ``payload`` is the text as sent,
    cut at its limit; ``payload_digest`` is of all of it. ``event_type`` and ``event_hour`` are what the payload says of
    itself; the hour is that of its arrival where it says none that makes sense. ``opening_id`` changes each time that
    the letter is opened. ``reason`` is why it was discarded.
    """

    id = fields.PrefixedIdField(prefix="dl")
    tenant_id = models.CharField(max_length=64, blank=True, default="")
    payload_digest = models.UUIDField()
    payload = models.TextField()
    code = models.CharField(max_length=64)
    detail = models.TextField()
    source = models.CharField(max_length=100)
    event_type = models.CharField(max_length=100, blank=True, default="")
    event_hour = models.IntegerField()
    count = models.BigIntegerField(default=1)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    state = models.CharField(max_length=16, choices=DeadLetterState.choices, default=DeadLetterState.OPEN)
    opening_id = models.CharField(max_length=40)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=200, blank=True, default="")
    reason = models.TextField(blank=True, default="")

    class Meta:
        db_table = "metering_dead_letter"
        ordering = ["-id"]
        permissions = [
            ("replay_deadletter", "Can replay dead letters"),
            ("discard_deadletter", "Can discard dead letters"),
        ]
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
            models.CheckConstraint(
                name="metering_dead_letter_is_resolved_by_somebody",
                condition=models.Q(state=DeadLetterState.OPEN, resolved_at=None, resolved_by="")
                | (
                    ~models.Q(state=DeadLetterState.OPEN)
                    & models.Q(resolved_at__isnull=False)
                    & ~models.Q(resolved_by="")
                ),
            ),
            models.CheckConstraint(
                name="metering_dead_letter_is_discarded_with_a_reason",
                condition=models.Q(state=DeadLetterState.DISCARDED) & ~models.Q(reason="")
                | ~models.Q(state=DeadLetterState.DISCARDED) & models.Q(reason=""),
            ),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "-id"], name="metering_dead_letter_by_tenant"),
            models.Index(fields=["-id"], name="metering_dead_letter_open", condition=models.Q(state="open")),
            models.Index(
                fields=["code", "-id"], name="metering_dead_letter_by_reason", condition=models.Q(state="open")
            ),
            models.Index(fields=["tenant_id", "event_hour"], name="metering_dead_letter_by_hour"),
        ]

    def __str__(self) -> str:
        return f"{self.pk} {self.code}"


class DeadLetterStep(models.TextChoices):
    """What can happen to a dead letter after it was made."""

    REPLAYED = "replayed"
    REPLAY_FAILED = "replay_failed"
    DISCARDED = "discarded"
    OPENED_AGAIN = "opened_again"


class DeadLetterAction(models.Model):
    """
    One thing that was done about a dead letter, by whom and when. Appended, never changed.

    ``code`` and ``detail`` tell why a replay failed or why the letter was opened again; ``reason`` why it was
    discarded. ``event`` is the corrected event that was replayed in place of the payload, where there was one.
    """

    id = models.BigAutoField(primary_key=True)
    letter = models.ForeignKey(DeadLetter, on_delete=models.PROTECT, related_name="actions")
    step = models.CharField(max_length=16, choices=DeadLetterStep.choices)
    actor = models.CharField(max_length=200)
    code = models.CharField(max_length=64, blank=True, default="")
    detail = models.TextField(blank=True, default="")
    reason = models.TextField(blank=True, default="")
    event = models.TextField(blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        db_table = "metering_dead_letter_action"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                name="metering_dead_letter_action_step_is_known",
                condition=models.Q(step__in=DeadLetterStep.values),
            ),
            models.CheckConstraint(
                name="metering_dead_letter_action_has_an_actor",
                condition=~models.Q(actor=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.letter_id} {self.step}"
