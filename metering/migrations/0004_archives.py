"""Archived months, and the expiry of keys."""

from django.db import migrations, models

from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [("metering", "0003_aggregation")]

    operations = [
        migrations.CreateModel(
            name="ArchivedFile",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("month", models.DateField()),
                ("day", models.DateField()),
                ("path", models.TextField()),
                ("sha256", models.CharField(max_length=64)),
                ("size_bytes", models.BigIntegerField()),
                ("event_count", models.BigIntegerField()),
                ("quantity", models.DecimalField(decimal_places=0, max_digits=38)),
                ("digest", models.DecimalField(decimal_places=0, max_digits=38)),
                ("last_arrival_at", models.DateTimeField()),
                ("created_at", models.DateTimeField()),
                ("keys_expired_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "metering_archived_file",
                "ordering": ["-day"],
                "constraints": [
                    models.UniqueConstraint(fields=("day",), name="metering_archived_file_is_one_per_day"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ArchivedMonth",
            fields=[
                ("month", models.DateField(primary_key=True, serialize=False)),
                ("sealed_at", models.DateTimeField()),
                ("event_count", models.BigIntegerField(null=True)),
                ("quantity", models.DecimalField(decimal_places=0, max_digits=38, null=True)),
                ("digest", models.DecimalField(decimal_places=0, max_digits=38, null=True)),
                ("manifest_path", models.TextField(blank=True, default="")),
                ("manifest_sha256", models.CharField(blank=True, default="", max_length=64)),
                ("verified_at", models.DateTimeField(null=True)),
                ("dropped_at", models.DateTimeField(null=True)),
                ("restored_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "metering_archived_month",
                "ordering": ["-month"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("dropped_at__isnull", True),
                            models.Q(("dropped_at__gte", models.F("verified_at")), ("verified_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="metering_archived_month_is_dropped_after_it_is_verified",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("verified_at__isnull", True),
                            models.Q(
                                ("digest__isnull", False), ("event_count__isnull", False), ("quantity__isnull", False)
                            ),
                            _connector="OR",
                        ),
                        name="metering_archived_month_is_verified_with_its_figures",
                    ),
                ],
            },
        ),
        database.run_sql_file(__file__, "archives.sql", "archives_reverse.sql"),
    ]
