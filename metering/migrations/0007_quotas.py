"""Usage thresholds and their firings; what may not change about them is a SQL file."""

import django.db.models.deletion
from django.db import migrations, models

import billing_site.kernel.fields
from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [("metering", "0006_requests")]

    operations = [
        migrations.CreateModel(
            name="UsageThreshold",
            fields=[
                (
                    "id",
                    billing_site.kernel.fields.PrefixedIdField(
                        editable=False, max_length=40, prefix="uth", primary_key=True, serialize=False
                    ),
                ),
                ("tenant_id", billing_site.kernel.fields.CodeField(max_length=64)),
                ("meter", models.CharField(max_length=100)),
                ("event_type", models.CharField(max_length=100)),
                ("quantity", models.BigIntegerField()),
                (
                    "period",
                    models.CharField(choices=[("hour", "Hour"), ("day", "Day"), ("month", "Month")], max_length=5),
                ),
                ("action", models.CharField(choices=[("alert", "Alert"), ("refuse", "Refuse")], max_length=6)),
                ("created_at", models.DateTimeField()),
                ("deactivated_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "metering_usage_threshold",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["tenant_id", "-id"], name="metering_threshold_by_tenant"),
                    models.Index(
                        condition=models.Q(("deactivated_at", None)),
                        fields=["period"],
                        name="metering_threshold_active",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("deactivated_at", None)),
                        fields=("tenant_id", "meter", "period", "action", "quantity"),
                        name="metering_usage_threshold_is_active_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("quantity__gte", 1), ("quantity__lte", 1000000000000000000)),
                        name="metering_usage_threshold_quantity_is_in_bounds",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period__in", ["hour", "day", "month"])),
                        name="metering_usage_threshold_period_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("action__in", ["alert", "refuse"])),
                        name="metering_usage_threshold_action_is_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ThresholdFiring",
            fields=[
                (
                    "id",
                    billing_site.kernel.fields.PrefixedIdField(
                        editable=False, max_length=40, prefix="utf", primary_key=True, serialize=False
                    ),
                ),
                ("tenant_id", billing_site.kernel.fields.CodeField(max_length=64)),
                ("period_start", models.DateTimeField()),
                ("period_end", models.DateTimeField()),
                ("reached_quantity", models.DecimalField(decimal_places=0, max_digits=38)),
                ("fired_at", models.DateTimeField()),
                (
                    "threshold",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="firings",
                        to="metering.usagethreshold",
                    ),
                ),
            ],
            options={
                "db_table": "metering_threshold_firing",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["period_end"], name="metering_firing_by_period_end"),
                    models.Index(fields=["tenant_id", "-id"], name="metering_firing_by_tenant"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("threshold", "period_start"), name="metering_threshold_fires_once_a_period"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period_end__gt", models.F("period_start"))),
                        name="metering_threshold_firing_has_a_period",
                    ),
                ],
            },
        ),
        database.run_sql_file(__file__, "thresholds.sql", "thresholds_reverse.sql"),
    ]
