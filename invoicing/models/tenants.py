"""Who is billed."""

from typing import Final

from django.db import models
from django.db.models import Q

from billing_site.kernel import fields

MAXIMUM_GRACE_HOURS: Final = 24 * 90
MAXIMUM_NET_TERMS_DAYS: Final = 365


class BillingChannel(models.TextChoices):
    """How a tenant's money and usage leave the house."""

    STRIPE = "stripe", "Stripe"
    AWS_MARKETPLACE = "aws_marketplace", "AWS Marketplace"
    GCP_MARKETPLACE = "gcp_marketplace", "Google Cloud Marketplace"
    AZURE_MARKETPLACE = "azure_marketplace", "Azure Marketplace"
    MANUAL = "manual", "Manual (bank transfer)"


class Tenant(models.Model):
    """
    A customer organisation, by the caller's own code. Currency and book are for ever.

    A change of ``time_zone`` holds for subscriptions made after it: boundaries that were promised do not move.
    """

    id = fields.CodeField(primary_key=True)
    name = models.CharField(max_length=200)
    email = models.CharField(max_length=254, blank=True, default="")
    currency = fields.CurrencyField()
    billing_channel = models.CharField(max_length=20, choices=BillingChannel.choices, default=BillingChannel.MANUAL)
    country = models.CharField(max_length=2, blank=True, default="")
    address = models.JSONField(default=dict, blank=True)
    tax_id = models.CharField(max_length=64, blank=True, default="")
    net_terms_days = models.PositiveSmallIntegerField(default=0)
    time_zone = models.CharField(max_length=64, default="UTC")
    grace_hours = models.PositiveSmallIntegerField(null=True, blank=True)
    book = fields.CodeField(default="main")
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "invoicing_tenant"
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["-created_at", "-id"], name="invoicing_tenant_newest_first")]
        constraints = [
            # Beside the primary key, so that what belongs to a tenant can be held to the tenant's currency.
            models.UniqueConstraint(fields=["id", "currency"], name="invoicing_tenant_has_one_currency"),
            models.CheckConstraint(
                name="invoicing_tenant_code_is_well_formed",
                condition=Q(id__regex=rf"^{fields.CODE_PATTERN}$"),
            ),
            models.CheckConstraint(
                name="invoicing_tenant_channel_is_known",
                condition=Q(billing_channel__in=BillingChannel.values),
            ),
            models.CheckConstraint(
                name="invoicing_tenant_terms_are_bounded",
                condition=Q(net_terms_days__lte=MAXIMUM_NET_TERMS_DAYS)
                & (Q(grace_hours=None) | Q(grace_hours__lte=MAXIMUM_GRACE_HOURS)),
            ),
        ]

    def __str__(self) -> str:
        return self.id
