"""What gateway requests add up to."""

from django.db import models

from billing_site.kernel import fields
from metering.models import summaries


class RequestDimension(models.TextChoices):
    """What a row of the request roll-up tells of: all requests of its window, or those of one endpoint or API key."""

    ALL = "all"
    ENDPOINT = "endpoint"
    API_KEY = "api_key"


class RequestSummary(models.Model):
    """
    Requests of a tenant in one hour, day or month (in UTC), recomputed from the events and never incremented.

    ``name`` is the endpoint or the API key; it is empty in the row of all requests, and for those that have no row of
    their own: requests that name none, and whatever is beyond the busiest of a window. ``units`` is what the meter
    ``api.request`` sums. ``response_time_ms`` is a sum over the ``timed_requests``. ``endpoints`` and ``api_keys`` are
    how many different ones there are, told in the row of all requests alone.
    """

    id = models.BigAutoField(primary_key=True)
    tenant_id = fields.CodeField()
    granularity = models.CharField(max_length=5, choices=summaries.Granularity.choices)
    dimension = models.CharField(max_length=8, choices=RequestDimension.choices)
    period_start = models.DateTimeField()
    name = models.CharField(max_length=255, blank=True, default="")
    requests = models.BigIntegerField()
    billable_requests = models.BigIntegerField()
    units = models.DecimalField(max_digits=38, decimal_places=0)
    response_time_ms = models.DecimalField(max_digits=38, decimal_places=6)
    timed_requests = models.BigIntegerField()
    successes = models.BigIntegerField()
    client_errors = models.BigIntegerField()
    server_errors = models.BigIntegerField()
    endpoints = models.BigIntegerField()
    api_keys = models.BigIntegerField()
    computed_at = models.DateTimeField()

    class Meta:
        db_table = "metering_request_summary"
        verbose_name_plural = "request summaries"
        ordering = ["-period_start", "tenant_id", "dimension", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "granularity", "dimension", "period_start", "name"],
                name="metering_request_summary_is_one_per_window_and_name",
            ),
            models.CheckConstraint(
                name="metering_request_summary_adds_up",
                condition=models.Q(
                    requests__gt=0,
                    billable_requests__gte=0,
                    billable_requests__lte=models.F("requests"),
                    units__gte=0,
                    response_time_ms__gte=0,
                    timed_requests__gte=0,
                    timed_requests__lte=models.F("requests"),
                    successes__gte=0,
                    client_errors__gte=0,
                    server_errors__gte=0,
                    requests__gte=models.F("successes") + models.F("client_errors") + models.F("server_errors"),
                ),
            ),
            models.CheckConstraint(
                name="metering_request_summary_of_all_has_no_name",
                condition=~models.Q(dimension="all") | models.Q(name=""),
            ),
            models.CheckConstraint(
                name="metering_request_summary_kind_is_known",
                condition=models.Q(dimension__in=RequestDimension.values, granularity__in=summaries.Granularity.values),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.granularity} {self.period_start} {self.name or self.dimension}"
