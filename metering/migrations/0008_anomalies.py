"""Anomalies of usage; that a finding is never edited is a SQL file."""

from django.db import migrations, models

import billing_site.kernel.fields
from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [("metering", "0007_quotas")]

    operations = [
        migrations.CreateModel(
            name="UsageAnomaly",
            fields=[
                (
                    "id",
                    billing_site.kernel.fields.PrefixedIdField(
                        editable=False, max_length=40, prefix="ano", primary_key=True, serialize=False
                    ),
                ),
                ("tenant_id", billing_site.kernel.fields.CodeField(max_length=64)),
                ("event_type", models.CharField(max_length=100)),
                ("day", models.DateField()),
                (
                    "kind",
                    models.CharField(choices=[("day_total", "Day Total"), ("hour_spike", "Hour Spike")], max_length=10),
                ),
                ("window_start", models.DateTimeField()),
                ("window_end", models.DateTimeField()),
                ("observed_quantity", models.DecimalField(decimal_places=0, max_digits=38)),
                ("expected_quantity", models.DecimalField(decimal_places=6, max_digits=50)),
                ("deviation", models.DecimalField(decimal_places=6, max_digits=50)),
                ("z_score", models.DecimalField(blank=True, decimal_places=4, max_digits=50, null=True)),
                ("history_days", models.PositiveSmallIntegerField()),
                ("detected_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "Open"), ("acknowledged", "Acknowledged")], default="open", max_length=12
                    ),
                ),
                ("acknowledged_at", models.DateTimeField(blank=True, null=True)),
                ("acknowledged_by", models.CharField(blank=True, default="", max_length=150)),
            ],
            options={
                "verbose_name_plural": "usage anomalies",
                "db_table": "metering_usage_anomaly",
                "ordering": ["-id"],
                "permissions": [("acknowledge_usageanomaly", "Can acknowledge usage anomalies")],
                "indexes": [
                    models.Index(fields=["tenant_id", "-id"], name="metering_anomaly_by_tenant"),
                    models.Index(condition=models.Q(("state", "open")), fields=["-id"], name="metering_anomaly_open"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant_id", "event_type", "day"), name="metering_usage_anomaly_is_one_a_day"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["day_total", "hour_spike"])),
                        name="metering_usage_anomaly_kind_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("acknowledged_at", None), ("acknowledged_by", ""), ("state", "open")),
                            models.Q(
                                ("acknowledged_at__isnull", False),
                                ("state", "acknowledged"),
                                models.Q(("acknowledged_by", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="metering_usage_anomaly_is_acknowledged_by_someone",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("deviation", 0), ("z_score", None)),
                            models.Q(("deviation__gt", 0), ("z_score__isnull", False)),
                            _connector="OR",
                        ),
                        name="metering_usage_anomaly_has_a_z_score_where_days_differed",
                    ),
                ],
            },
        ),
        database.run_sql_file(__file__, "anomalies.sql", "anomalies_reverse.sql"),
    ]
