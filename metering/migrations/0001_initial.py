"""Metering's tables; the event store, its triggers and its functions are SQL files."""

import django.contrib.postgres.fields
from django.db import migrations, models

import billing_site.kernel.fields
from billing_site.kernel import database


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Event",
            fields=[
                ("key_hash", models.UUIDField(primary_key=True, serialize=False)),
                ("event_timestamp", models.DateTimeField()),
                ("quantity", models.BigIntegerField()),
                ("batch_id", models.BigIntegerField()),
                ("created_at", models.DateTimeField()),
                ("event_hour", models.IntegerField()),
                ("series_id", models.IntegerField()),
                ("void", models.BooleanField()),
                ("idempotency_key", models.TextField()),
                ("source", models.TextField()),
                ("corrects", models.TextField(null=True)),
                ("properties", models.JSONField()),
            ],
            options={
                "verbose_name": "metering event",
                "db_table": "metering_event",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="EventKey",
            fields=[
                ("key_hash", models.UUIDField(primary_key=True, serialize=False)),
                ("payload_hash", models.BigIntegerField()),
                ("batch_id", models.BigIntegerField()),
                ("created_at", models.DateTimeField()),
                ("series_id", models.IntegerField()),
                ("event_hour", models.IntegerField()),
            ],
            options={
                "db_table": "metering_event_key",
            },
        ),
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                (
                    "id",
                    billing_site.kernel.fields.PrefixedIdField(
                        editable=False, max_length=40, prefix="dl", primary_key=True, serialize=False
                    ),
                ),
                ("tenant_id", models.CharField(blank=True, default="", max_length=64)),
                ("payload_digest", models.UUIDField()),
                ("payload", models.TextField()),
                ("code", models.CharField(max_length=64)),
                ("detail", models.TextField()),
                ("source", models.CharField(max_length=100)),
                ("count", models.BigIntegerField(default=1)),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("state", models.CharField(choices=[("open", "Open")], default="open", max_length=16)),
            ],
            options={
                "db_table": "metering_dead_letter",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["tenant_id", "-id"], name="metering_dead_letter_by_tenant"),
                    models.Index(
                        condition=models.Q(("state", "open")), fields=["-id"], name="metering_dead_letter_open"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant_id", "payload_digest"),
                        name="metering_dead_letter_is_one_per_tenant_and_payload",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("count__gte", 1), ("last_seen_at__gte", models.F("first_seen_at"))),
                        name="metering_dead_letter_was_seen",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["open"])), name="metering_dead_letter_state_is_known"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Series",
            fields=[
                ("id", models.AutoField(primary_key=True, serialize=False)),
                ("tenant_id", billing_site.kernel.fields.CodeField(max_length=64)),
                ("event_type", models.CharField(max_length=100)),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "series",
                "db_table": "metering_series",
                "ordering": ["tenant_id", "event_type"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant_id", "event_type"), name="metering_series_is_one_per_tenant_and_type"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="TouchedWindow",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("batch_id", models.BigIntegerField()),
                ("shard", models.SmallIntegerField()),
                ("started_at", models.DateTimeField(db_index=True)),
                ("series_ids", django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(), size=None)),
                ("hours", django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(), size=None)),
            ],
            options={
                "db_table": "metering_touched_window",
                "ordering": ["-id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("series_ids__len", models.F("hours__len")), ("series_ids__len__gt", 0)),
                        name="metering_touched_window_pairs_series_and_hours",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="UsageSummary",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("tenant_id", billing_site.kernel.fields.CodeField(max_length=64)),
                ("meter", models.CharField(max_length=100)),
                ("group_key", models.TextField(blank=True, default="")),
                (
                    "granularity",
                    models.CharField(choices=[("hour", "Hour"), ("day", "Day"), ("month", "Month")], max_length=5),
                ),
                ("period_start", models.DateTimeField()),
                ("total", models.DecimalField(decimal_places=0, max_digits=38)),
                ("event_count", models.BigIntegerField()),
                ("maximum", models.BigIntegerField(null=True)),
                ("latest", models.BigIntegerField(null=True)),
                ("computed_at", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "usage summaries",
                "db_table": "metering_usage_summary",
                "ordering": ["-period_start", "tenant_id", "meter"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant_id", "meter", "group_key", "granularity", "period_start"),
                        name="metering_usage_summary_is_one_per_window",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("event_count__gte", 0), ("total__gte", 0)),
                        name="metering_usage_summary_is_not_negative",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("granularity__in", ["hour", "day", "month"])),
                        name="metering_usage_summary_granularity_is_known",
                    ),
                ],
            },
        ),
        database.run_sql_file(__file__, "append_only.sql", "append_only_reverse.sql"),
        database.run_sql_file(__file__, "events.sql", "events_reverse.sql"),
    ]
