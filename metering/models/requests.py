"""What gateway requests add up to."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from billing_site.kernel import fields
from metering.models import summaries


class RequestSummary(models.Model):
    """
    Requests of a tenant in one hour, day or month (in UTC), recomputed from the events and never incremented.

    ``units`` is what the meter ``api.request`` sums; ``response_time_ms`` is a sum over the ``timed_requests``.
    ``endpoints`` and ``api_keys`` are how many different ones there are. The lists ``endpoint_*`` belong together place
    by place, one for each endpoint: a row each would be as many as the events of a tenant that has few. An empty name
    stands for requests that name no endpoint, and for those beyond the busiest of the window.
    """

    id = models.BigAutoField(primary_key=True)
    tenant_id = fields.CodeField()
    granularity = models.CharField(max_length=5, choices=summaries.Granularity.choices)
    period_start = models.DateTimeField()
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
    endpoint_names = ArrayField(models.TextField())
    endpoint_requests = ArrayField(models.BigIntegerField())
    endpoint_response_time_ms = ArrayField(models.DecimalField(max_digits=38, decimal_places=6))
    endpoint_timed_requests = ArrayField(models.BigIntegerField())
    endpoint_client_errors = ArrayField(models.BigIntegerField())
    endpoint_server_errors = ArrayField(models.BigIntegerField())
    api_key_ids = ArrayField(models.TextField())
    computed_at = models.DateTimeField()

    class Meta:
        db_table = "metering_request_summary"
        verbose_name_plural = "request summaries"
        ordering = ["-period_start", "tenant_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "granularity", "period_start"],
                name="metering_request_summary_is_one_per_window",
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
                name="metering_request_summary_lists_belong_together",
                condition=models.Q(
                    endpoint_requests__len=models.F("endpoint_names__len"),
                    endpoint_response_time_ms__len=models.F("endpoint_names__len"),
                    endpoint_timed_requests__len=models.F("endpoint_names__len"),
                    endpoint_client_errors__len=models.F("endpoint_names__len"),
                    endpoint_server_errors__len=models.F("endpoint_names__len"),
                ),
            ),
            models.CheckConstraint(
                name="metering_request_summary_granularity_is_known",
                condition=models.Q(granularity__in=summaries.Granularity.values),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.granularity} {self.period_start}"
