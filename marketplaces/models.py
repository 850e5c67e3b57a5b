"""The tables of marketplaces."""

from django.db import models
from django.db.models import Q

from billing_site.kernel import fields
from invoicing.models import Tenant


class CustomerStatus(models.TextChoices):
    """How far a tenant's onboarding is."""

    PENDING = "pending", "Pending"
    ACTIVE = "active", "Active"


class ChannelCustomer(models.Model):
    """
    A tenant as its channel calls it.

    The row is committed before the channel is first told. ``registration`` is what it is told, frozen: a repeated call
    with the same key must say the same.
    """

    id = fields.PrefixedIdField(prefix="chc")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="channel_customers")
    channel = models.CharField(max_length=20)
    status = models.CharField(max_length=10, choices=CustomerStatus.choices, default=CustomerStatus.PENDING)
    external_id = models.CharField(max_length=255, blank=True, default="")
    registration = models.JSONField()
    created_at = models.DateTimeField()
    onboarded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "marketplaces_channel_customer"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "channel"], name="marketplaces_tenant_once_per_channel"),
            models.UniqueConstraint(
                fields=["channel", "external_id"],
                name="marketplaces_external_customer_is_one_tenant",
                condition=~Q(external_id=""),
            ),
            models.CheckConstraint(
                name="marketplaces_active_customer_is_known_outside",
                condition=Q(status=CustomerStatus.PENDING, external_id="", onboarded_at=None)
                | (Q(status=CustomerStatus.ACTIVE, onboarded_at__isnull=False) & ~Q(external_id="")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} at {self.channel}"
