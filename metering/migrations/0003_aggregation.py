"""Meters, changed and quarantined windows, split hours, daily and monthly summaries."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import billing_site.kernel.fields
from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0002_ingestion"),
    ]

    operations = [
        migrations.CreateModel(
            name="ChangedWindow",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("shard", models.SmallIntegerField()),
                ("tenant_id", billing_site.kernel.fields.CodeField(max_length=64)),
                ("meter", models.CharField(max_length=100)),
                ("group_key", models.TextField(blank=True, default="")),
                ("period_start", models.DateTimeField()),
                ("old_total", models.DecimalField(decimal_places=0, max_digits=38)),
                ("new_total", models.DecimalField(decimal_places=0, max_digits=38)),
                ("old_count", models.BigIntegerField()),
                ("new_count", models.BigIntegerField()),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "metering_changed_window",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Meter",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("code", billing_site.kernel.fields.CodeField(max_length=64, unique=True)),
                ("event_type", models.CharField(max_length=100)),
                (
                    "aggregation",
                    models.CharField(
                        choices=[
                            ("sum", "Sum"),
                            ("count", "Count"),
                            ("max", "Max"),
                            ("average", "Average"),
                            ("unique_count", "Unique Count"),
                            ("latest", "Latest"),
                        ],
                        max_length=12,
                    ),
                ),
                ("property", models.CharField(blank=True, default="", max_length=100)),
                ("filters", models.JSONField(blank=True, default=dict)),
                (
                    "group_by",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100), blank=True, default=list, size=None
                    ),
                ),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "metering_meter",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="MeterBackfill",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("shard", models.SmallIntegerField()),
                ("started_at", models.DateTimeField()),
                ("series_id", models.IntegerField(default=0)),
                ("event_hour", models.IntegerField(default=0)),
                ("windows", models.BigIntegerField(default=0)),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "metering_meter_backfill",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="QuarantinedWindow",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("shard", models.SmallIntegerField()),
                ("series_id", models.IntegerField()),
                ("event_hour", models.IntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[("waiting", "Waiting"), ("stuck", "Stuck")], default="waiting", max_length=8
                    ),
                ),
                ("attempts", models.IntegerField(default=1)),
                ("error", models.TextField()),
                ("started_at", models.DateTimeField(db_index=True)),
                ("first_failed_at", models.DateTimeField()),
                ("last_failed_at", models.DateTimeField()),
                ("retry_at", models.DateTimeField()),
            ],
            options={
                "db_table": "metering_quarantined_window",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="WindowSplit",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("tenant_id", billing_site.kernel.fields.CodeField(max_length=64)),
                ("event_hour", models.IntegerField()),
                ("split_at", models.DateTimeField()),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "metering_window_split",
                "ordering": ["-id"],
            },
        ),
        migrations.AddField(
            model_name="touchedwindow",
            name="stage",
            field=models.CharField(
                choices=[("recompute", "Recompute"), ("roll_up", "Roll Up")],
                db_default="recompute",
                default="recompute",
                max_length=9,
            ),
        ),
        migrations.AddField(
            model_name="usagesummary",
            name="skipped_count",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="usagesummary",
            name="unique_count",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddIndex(
            model_name="touchedwindow",
            index=models.Index(
                condition=models.Q(("stage", "roll_up")), fields=["shard", "id"], name="metering_touched_roll_up"
            ),
        ),
        migrations.AddIndex(
            model_name="usagesummary",
            index=models.Index(
                condition=models.Q(("group_key", ""), _negated=True),
                fields=["tenant_id", "meter", "granularity", "period_start"],
                name="metering_usage_summary_groups",
            ),
        ),
        migrations.AddConstraint(
            model_name="touchedwindow",
            constraint=models.CheckConstraint(
                condition=models.Q(("stage__in", ["recompute", "roll_up"])),
                name="metering_touched_window_stage_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="usagesummary",
            constraint=models.CheckConstraint(
                condition=models.Q(("skipped_count__gte", 0), ("unique_count__gte", 0)),
                name="metering_usage_summary_counts_are_not_negative",
            ),
        ),
        migrations.AddIndex(
            model_name="meter",
            index=models.Index(fields=["event_type"], name="metering_meter_by_type"),
        ),
        migrations.AddConstraint(
            model_name="meter",
            constraint=models.CheckConstraint(
                condition=models.Q(("aggregation__in", ["sum", "count", "max", "average", "unique_count", "latest"])),
                name="metering_meter_aggregation_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="meter",
            constraint=models.CheckConstraint(
                condition=models.Q(("aggregation", "unique_count"), ("property", ""), _negated=True),
                name="metering_meter_counts_different_values_of_a_property",
            ),
        ),
        migrations.AddConstraint(
            model_name="meter",
            constraint=models.CheckConstraint(
                condition=models.Q(("group_by__len__lte", 3)), name="metering_meter_groups_by_three_at_most"
            ),
        ),
        migrations.AddField(
            model_name="meterbackfill",
            name="meter",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="backfills", to="metering.meter"
            ),
        ),
        migrations.AddConstraint(
            model_name="quarantinedwindow",
            constraint=models.UniqueConstraint(
                fields=("series_id", "event_hour"), name="metering_quarantined_window_is_one"
            ),
        ),
        migrations.AddConstraint(
            model_name="quarantinedwindow",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["waiting", "stuck"])),
                name="metering_quarantined_window_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="windowsplit",
            constraint=models.UniqueConstraint(
                fields=("tenant_id", "event_hour", "split_at"), name="metering_window_split_is_made_once"
            ),
        ),
        migrations.AddIndex(
            model_name="meterbackfill",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", True)),
                fields=["shard", "id"],
                name="metering_meter_backfill_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="meterbackfill",
            constraint=models.UniqueConstraint(
                fields=("meter", "shard"), name="metering_meter_backfill_is_one_per_shard"
            ),
        ),
        migrations.AddIndex(
            model_name="usagesummary",
            index=models.Index(
                condition=models.Q(("granularity", "hour"), ("group_key", "")),
                fields=["period_start"],
                name="metering_usage_summary_by_hour",
            ),
        ),
        database.run_sql_file(__file__, "aggregation.sql", "aggregation_reverse.sql"),
    ]
