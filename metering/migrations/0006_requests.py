"""The roll-up of gateway requests."""

from django.db import migrations, models

import billing_site.kernel.fields
from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [("metering", "0005_dead_letters")]

    operations = [
        migrations.CreateModel(
            name="RequestSummary",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("tenant_id", billing_site.kernel.fields.CodeField(max_length=64)),
                (
                    "granularity",
                    models.CharField(choices=[("hour", "Hour"), ("day", "Day"), ("month", "Month")], max_length=5),
                ),
                (
                    "dimension",
                    models.CharField(
                        choices=[("all", "All"), ("endpoint", "Endpoint"), ("api_key", "Api Key")], max_length=8
                    ),
                ),
                ("period_start", models.DateTimeField()),
                ("name", models.CharField(blank=True, default="", max_length=255)),
                ("requests", models.BigIntegerField()),
                ("billable_requests", models.BigIntegerField()),
                ("units", models.DecimalField(decimal_places=0, max_digits=38)),
                ("response_time_ms", models.DecimalField(decimal_places=6, max_digits=38)),
                ("timed_requests", models.BigIntegerField()),
                ("successes", models.BigIntegerField()),
                ("client_errors", models.BigIntegerField()),
                ("server_errors", models.BigIntegerField()),
                ("endpoints", models.BigIntegerField()),
                ("api_keys", models.BigIntegerField()),
                ("computed_at", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "request summaries",
                "db_table": "metering_request_summary",
                "ordering": ["-period_start", "tenant_id", "dimension", "name"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant_id", "granularity", "dimension", "period_start", "name"),
                        name="metering_request_summary_is_one_per_window_and_name",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("requests__gt", 0),
                            ("billable_requests__gte", 0),
                            ("billable_requests__lte", models.F("requests")),
                            ("units__gte", 0),
                            ("response_time_ms__gte", 0),
                            ("timed_requests__gte", 0),
                            ("timed_requests__lte", models.F("requests")),
                            ("successes__gte", 0),
                            ("client_errors__gte", 0),
                            ("server_errors__gte", 0),
                            (
                                "requests__gte",
                                models.F("successes") + models.F("client_errors") + models.F("server_errors"),
                            ),
                        ),
                        name="metering_request_summary_adds_up",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("dimension", "all"), _negated=True), ("name", ""), _connector="OR"
                        ),
                        name="metering_request_summary_of_all_has_no_name",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("dimension__in", ["all", "endpoint", "api_key"]),
                            ("granularity__in", ["hour", "day", "month"]),
                        ),
                        name="metering_request_summary_kind_is_known",
                    ),
                ],
            },
        ),
        database.run_sql_file(__file__, "requests.sql", "requests_reverse.sql"),
    ]
