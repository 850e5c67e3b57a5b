"""Who is on which plan, since when, and when their next invoice is due."""

from typing import Final, cast

from django.db import models
from django.db.models import F, Q

from billing_site.kernel import fields
from invoicing import periods
from invoicing.models.catalog import PlanVersion
from invoicing.models.tenants import Tenant


class SubscriptionStatus(models.TextChoices):
    """The lifecycle of a subscription."""

    TRIALING = "trialing", "Trialing"
    ACTIVE = "active", "Active"
    PAST_DUE = "past_due", "Past due"
    SUSPENDED = "suspended", "Suspended"
    PAUSED = "paused", "Paused"
    CANCELLING = "cancelling", "Cancelling"
    CANCELLED = "cancelled", "Cancelled"


# While suspended, usage is still billed; in a trial and while paused nothing is.
BILLED_STATUSES: Final = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.PAST_DUE,
    SubscriptionStatus.SUSPENDED,
    SubscriptionStatus.CANCELLING,
)
LIVE_STATUSES: Final = tuple(status for status in SubscriptionStatus if status != SubscriptionStatus.CANCELLED)


class Subscription(models.Model):
    """
    A tenant on a plan version.

    ``starts_at`` is the first boundary, a midnight in ``time_zone``. ``next_boundary_at`` is the due row of drafting:
    the next boundary that was not looked at; null when none will come.
    """

    id = fields.PrefixedIdField(prefix="sub")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="subscriptions")
    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="subscriptions")
    currency = fields.CurrencyField()
    status = models.CharField(max_length=10, choices=SubscriptionStatus.choices)
    starts_at = models.DateTimeField()
    time_zone = models.CharField(max_length=64)
    next_boundary_at = models.DateTimeField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "invoicing_subscription"
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["next_boundary_at", "id"],
                name="invoicing_subscription_due",
                condition=Q(next_boundary_at__isnull=False, status__in=BILLED_STATUSES),
            ),
        ]
        constraints = [
            # Beside the primary key, so that an invoice can be held to its subscription's tenant.
            models.UniqueConstraint(fields=["id", "tenant"], name="invoicing_subscription_has_one_tenant"),
            models.CheckConstraint(
                name="invoicing_subscription_status_is_known",
                condition=Q(status__in=SubscriptionStatus.values),
            ),
            models.CheckConstraint(
                name="invoicing_subscription_is_not_billed_before_it_starts",
                condition=Q(next_boundary_at=None) | Q(next_boundary_at__gte=F("starts_at")),
            ),
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def schedule(self) -> periods.Schedule:
        """When its periods turn."""
        return periods.Schedule(
            starts_at=self.starts_at,
            interval=cast("periods.Interval", self.plan_version.interval),
            anchor=cast("periods.Anchor", self.plan_version.billing_anchor),
            time_zone=self.time_zone,
        )

    @property
    def current_period(self) -> periods.Period | None:
        """The period that the next boundary bills; before the start, the first. None when none will come."""
        if self.next_boundary_at is None:
            return None
        ending = self.schedule.period_ending(self.next_boundary_at)
        return ending or self.schedule.period_beginning(self.next_boundary_at)
