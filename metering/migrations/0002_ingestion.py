"""What ingestion keeps beside events: corrections, and what was sent again."""

from django.db import migrations, models

import billing_site.kernel.fields
from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [("metering", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="touchedwindow",
            name="oldest_xid",
            field=models.BigIntegerField(null=True),
        ),
        migrations.CreateModel(
            name="Correction",
            fields=[
                ("correction_key_hash", models.UUIDField(primary_key=True, serialize=False)),
                ("original_key_hash", models.UUIDField(db_index=True)),
                ("quantity", models.BigIntegerField()),
                ("void", models.BooleanField()),
                ("batch_id", models.BigIntegerField()),
                ("position", models.IntegerField()),
                ("created_at", models.DateTimeField()),
                ("xid", models.BigIntegerField()),
                ("series_id", models.IntegerField()),
                ("event_hour", models.IntegerField()),
                ("original_series_id", models.IntegerField(null=True)),
                ("original_event_hour", models.IntegerField(null=True)),
                (
                    "fault",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "none"),
                            ("corrects_a_correction", "corrects a correction"),
                            ("corrects_another_type", "corrects another type"),
                        ],
                        default="",
                        max_length=32,
                    ),
                ),
            ],
            options={
                "db_table": "metering_correction",
                "ordering": ["-created_at", "-batch_id", "-position"],
                "indexes": [
                    models.Index(fields=["series_id", "event_hour"], name="metering_correction_by_own"),
                    models.Index(
                        condition=models.Q(("original_event_hour__isnull", False)),
                        fields=["original_series_id", "original_event_hour"],
                        name="metering_correction_by_origin",
                    ),
                    models.Index(
                        condition=models.Q(("fault", ""), ("original_event_hour__isnull", True)),
                        fields=["xid"],
                        name="metering_correction_pending",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("original_event_hour__isnull", True), ("original_series_id__isnull", True)),
                            models.Q(
                                ("fault", ""),
                                ("original_event_hour__isnull", False),
                                ("original_series_id__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="metering_correction_knows_its_original_whole",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("void", False), ("quantity", 0), _connector="OR"),
                        name="metering_correction_that_voids_has_no_quantity",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("correction_key_hash", models.F("original_key_hash")), _negated=True),
                        name="metering_correction_is_of_another_event",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("fault__in", ["", "corrects_a_correction", "corrects_another_type"])),
                        name="metering_correction_fault_is_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RepeatedEvent",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("batch_id", models.BigIntegerField()),
                ("tenant_id", billing_site.kernel.fields.CodeField(max_length=64)),
                ("event_type", models.CharField(max_length=100)),
                ("event_hour", models.IntegerField()),
                ("duplicates", models.IntegerField()),
                ("conflicts", models.IntegerField()),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "metering_repeated_event",
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["tenant_id", "event_hour"], name="metering_repeated_by_hour")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("conflicts__gte", 0),
                            ("duplicates__gte", 0),
                            models.Q(("conflicts", 0), ("duplicates", 0), _negated=True),
                        ),
                        name="metering_repeated_event_counts_something",
                    )
                ],
            },
        ),
        database.run_sql_file(__file__, "corrections.sql", "corrections_reverse.sql"),
    ]
