"""The kernel's tables."""

import uuid
from datetime import datetime
from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.db import models

from billing_site.kernel import fields

SCOPES: Final = (
    "events:write",
    "events:backfill",
    "usage:read",
    "billing:read",
    "billing:write",
    "ledger:read",
    "ledger:write",
    "admin",
)

_ONE_LIMIT: Final = r"[1-9][0-9]{0,9}/(second|minute|hour|day)"
RATE_LIMIT_PATTERN: Final = rf"^({_ONE_LIMIT}(;{_ONE_LIMIT}){{0,3}})?$"


class ApiKey(models.Model):
    """
    A key of an internal service. Its secret is stored only as a hash and found by its public prefix.

    ``tenant_id`` binds the key to one tenant, which then is all that it can see or touch; empty: all tenants.
    ``rate_limit`` is how many requests with events the key may send, such as ``600/minute;50000/day``; empty: what the
    settings say.
    """

    id = fields.PrefixedIdField(prefix="key")
    name = models.CharField(max_length=200)
    prefix = models.CharField(max_length=40, unique=True)
    secret_hash = models.BinaryField(max_length=32)
    scopes = ArrayField(models.CharField(max_length=32))
    tenant_id = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    rate_limit = models.CharField(max_length=200, blank=True, default="", db_default="")

    class Meta:
        db_table = "kernel_api_key"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                name="kernel_api_key_scopes_are_known",
                condition=models.Q(scopes__contained_by=list(SCOPES)) & ~models.Q(scopes=[]),
            ),
            models.CheckConstraint(
                name="kernel_api_key_rate_limit_is_readable",
                condition=models.Q(rate_limit__regex=RATE_LIMIT_PATTERN),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"

    def has_scope(self, scope: str) -> bool:
        """Whether the key carries the scope; ``admin`` carries all."""
        return scope in self.scopes or "admin" in self.scopes


class IdempotencyRecord(models.Model):
    """The remembered answer of one POST with an ``Idempotency-Key``; committed together with the POST's effect."""

    id = models.BigAutoField(primary_key=True)
    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE)
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField()
    body = models.JSONField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "kernel_idempotency_record"
        constraints = [
            models.UniqueConstraint(fields=["api_key", "key"], name="kernel_idempotency_key_answers_once"),
            models.CheckConstraint(
                name="kernel_only_success_is_remembered",
                condition=models.Q(status__gte=200, status__lt=300),
            ),
        ]

    def __str__(self) -> str:
        return self.key


class OutboxMessage(models.Model):
    """A fact that others will want to hear of, written in the transaction that made it true."""

    id = fields.PrefixedIdField(prefix="msg")
    topic = models.CharField(max_length=100)
    tenant_id = models.CharField(max_length=64, blank=True, default="", db_index=True)
    reference_id = models.CharField(max_length=64)
    payload = models.JSONField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "kernel_outbox_message"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(name="kernel_outbox_message_has_a_topic", condition=~models.Q(topic="")),
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.reference_id}"


class DueRow(models.Model):
    """
    Work that is due at a moment, claimed row by row (``retry.claim_due``).

    ``next_attempt_at`` null: nothing is due. ``attempts`` is committed before the work, so that work which kills its
    worker is counted too; a row out of attempts is quarantined and waits for a person.
    """

    next_attempt_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    claimed_until = models.DateTimeField(null=True, blank=True)
    claim_token = models.UUIDField(null=True, blank=True)
    quarantined_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True, default="")

    class Meta:
        abstract = True

    def claim(self, *, until: datetime) -> None:
        """Take the row until a moment, under a fresh token; the caller holds its lock and saves."""
        self.attempts += 1
        self.claimed_until = until
        self.claim_token = uuid.uuid4()

    def settle(self) -> None:
        """The work is done: nothing is due, nobody holds the row; the caller saves."""
        self.next_attempt_at = None
        self.claimed_until = None
        self.claim_token = None
        self.last_error = ""
