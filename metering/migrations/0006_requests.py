"""The roll-up of gateway requests."""

import django.contrib.postgres.fields
from django.db import migrations, models

import billing_site.kernel.fields
from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0005_dead_letters"),
    ]

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
                ("period_start", models.DateTimeField()),
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
                ("endpoint_names", django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None)),
                (
                    "endpoint_requests",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                (
                    "endpoint_response_time_ms",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.DecimalField(decimal_places=6, max_digits=38), size=None
                    ),
                ),
                (
                    "endpoint_timed_requests",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                (
                    "endpoint_client_errors",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                (
                    "endpoint_server_errors",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                ("api_key_ids", django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None)),
                ("computed_at", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "request summaries",
                "db_table": "metering_request_summary",
                "ordering": ["-period_start", "tenant_id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant_id", "granularity", "period_start"),
                        name="metering_request_summary_is_one_per_window",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("billable_requests__gte", 0),
                            ("billable_requests__lte", models.F("requests")),
                            ("client_errors__gte", 0),
                            ("requests__gt", 0),
                            (
                                "requests__gte",
                                models.F("successes") + models.F("client_errors") + models.F("server_errors"),
                            ),
                            ("response_time_ms__gte", 0),
                            ("server_errors__gte", 0),
                            ("successes__gte", 0),
                            ("timed_requests__gte", 0),
                            ("timed_requests__lte", models.F("requests")),
                            ("units__gte", 0),
                        ),
                        name="metering_request_summary_adds_up",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("endpoint_client_errors__len", models.F("endpoint_names__len")),
                            ("endpoint_requests__len", models.F("endpoint_names__len")),
                            ("endpoint_response_time_ms__len", models.F("endpoint_names__len")),
                            ("endpoint_server_errors__len", models.F("endpoint_names__len")),
                            ("endpoint_timed_requests__len", models.F("endpoint_names__len")),
                        ),
                        name="metering_request_summary_lists_belong_together",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("granularity__in", ["hour", "day", "month"])),
                        name="metering_request_summary_granularity_is_known",
                    ),
                ],
            },
        ),
        database.run_sql_file(__file__, "requests.sql", "requests_reverse.sql"),
    ]
