"""What is sold: plans in immutable versions, and the prices of each version."""

from django.db import models
from django.db.models import Q

from billing_site.kernel import fields
from invoicing.models.tenants import MAXIMUM_GRACE_HOURS


class Interval(models.TextChoices):
    """How long a billing period is."""

    MONTH = "month", "Month"
    YEAR = "year", "Year"


class BillingAnchor(models.TextChoices):
    """What billing periods are counted from."""

    START = "start", "Start of the subscription"
    CALENDAR = "calendar", "Calendar"


class FeeTiming(models.TextChoices):
    """Whether a period's base fee is billed when it begins or when it has ended."""

    IN_ADVANCE = "in_advance", "In advance"
    IN_ARREARS = "in_arrears", "In arrears"


class Plan(models.Model):
    """A plan's code. All that it says is in its versions."""

    code = fields.CodeField(primary_key=True)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "invoicing_plan"
        ordering = ["-created_at", "-code"]
        constraints = [
            models.CheckConstraint(
                name="invoicing_plan_code_is_well_formed",
                condition=Q(code__regex=rf"^{fields.CODE_PATTERN}$"),
            ),
        ]

    def __str__(self) -> str:
        return self.code


class PlanVersion(models.Model):
    """One wording of a plan, for ever: subscriptions stay on theirs until they are moved. Frozen by trigger."""

    id = fields.PrefixedIdField(prefix="pv")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField()
    name = models.CharField(max_length=200)
    currency = fields.CurrencyField()
    interval = models.CharField(max_length=5, choices=Interval.choices)
    billing_anchor = models.CharField(max_length=8, choices=BillingAnchor.choices)
    grace_hours = models.PositiveSmallIntegerField(null=True, blank=True)
    base_fee_cents = models.BigIntegerField(default=0)
    base_fee_timing = models.CharField(max_length=10, choices=FeeTiming.choices, default=FeeTiming.IN_ADVANCE)
    trial_days = models.PositiveSmallIntegerField(default=0)
    minimum_commitment_cents = models.BigIntegerField(default=0)
    price_count = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "invoicing_plan_version"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["plan", "version"], name="invoicing_plan_version_is_numbered_once"),
            models.UniqueConstraint(fields=["id", "currency"], name="invoicing_plan_version_has_one_currency"),
            models.CheckConstraint(name="invoicing_plan_version_counts_from_one", condition=Q(version__gte=1)),
            models.CheckConstraint(
                name="invoicing_plan_interval_is_known",
                condition=Q(interval__in=Interval.values, billing_anchor__in=BillingAnchor.values),
            ),
            models.CheckConstraint(
                name="invoicing_plan_fee_timing_is_known",
                condition=Q(base_fee_timing__in=FeeTiming.values),
            ),
            models.CheckConstraint(
                name="invoicing_plan_amounts_are_not_negative",
                condition=Q(base_fee_cents__gte=0, minimum_commitment_cents__gte=0),
            ),
            models.CheckConstraint(
                name="invoicing_plan_grace_is_bounded",
                condition=Q(grace_hours=None) | Q(grace_hours__lte=MAXIMUM_GRACE_HOURS),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan_id} version {self.version}"


class Price(models.Model):
    """
    The price of one meter in a plan version. Frozen by trigger, and no version gains a price later.

    ``definition`` is the price without meter and model, as the API writes it, every default told.
    """

    id = fields.PrefixedIdField(prefix="price")
    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="prices")
    position = models.PositiveSmallIntegerField()
    meter = models.CharField(max_length=100)
    model = models.CharField(max_length=32)
    definition = models.JSONField()

    class Meta:
        db_table = "invoicing_price"
        ordering = ["plan_version_id", "position"]
        constraints = [
            models.UniqueConstraint(fields=["plan_version", "position"], name="invoicing_price_has_one_place"),
            models.CheckConstraint(name="invoicing_price_names_a_meter", condition=~Q(meter="")),
        ]

    def __str__(self) -> str:
        return f"{self.meter} ({self.model})"
