"""What invoices billed, which usage came after, and how far invoicing has read what metering changed."""

import django.db.models.deletion
from django.db import migrations, models

# Invoices that were finalized before this: what they billed stands on their lines, how many events that were does not.
_FILL = """
    INSERT INTO invoicing_billed_usage (invoice_id, meter, quantity, event_count)
    SELECT DISTINCT ON (line.invoice_id, line.meter) line.invoice_id, line.meter, line.quantity, NULL::bigint
    FROM invoicing_line_item AS line
    JOIN invoicing_invoice AS invoice ON invoice.id = line.invoice_id
    WHERE line.kind = 'usage' AND invoice.status <> 'draft'
    ORDER BY line.invoice_id, line.meter, line.position
"""


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0003_invoice_finalized_at"),
    ]

    operations = [
        migrations.CreateModel(
            name="UsageChange",
            fields=[
                (
                    "invoice",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="usage_change",
                        serialize=False,
                        to="invoicing.invoice",
                    ),
                ),
                ("noticed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "invoicing_usage_change",
                "ordering": ["invoice_id"],
            },
        ),
        migrations.CreateModel(
            name="UsageCursor",
            fields=[
                ("shard", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("window_id", models.BigIntegerField(default=0)),
                ("read_at", models.DateTimeField()),
            ],
            options={
                "db_table": "invoicing_usage_cursor",
                "ordering": ["shard"],
            },
        ),
        migrations.CreateModel(
            name="BilledUsage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("meter", models.CharField(max_length=100)),
                ("quantity", models.DecimalField(decimal_places=12, max_digits=50)),
                ("event_count", models.BigIntegerField(blank=True, null=True)),
                (
                    "invoice",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="billed_usage", to="invoicing.invoice"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "billed usage",
                "db_table": "invoicing_billed_usage",
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("invoice", "meter"), name="invoicing_billed_usage_is_one_per_meter"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("quantity__gte", 0),
                            models.Q(("event_count", None), ("event_count__gte", 0), _connector="OR"),
                        ),
                        name="invoicing_billed_usage_is_not_negative",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="LateUsage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("meter", models.CharField(max_length=100)),
                ("quantity", models.DecimalField(decimal_places=12, max_digits=50)),
                ("event_count", models.BigIntegerField(blank=True, null=True)),
                ("first_noticed_at", models.DateTimeField()),
                ("changed_at", models.DateTimeField()),
                (
                    "invoice",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="late_usage", to="invoicing.invoice"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "late usage",
                "db_table": "invoicing_late_usage",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(
                        condition=models.Q(
                            models.Q(("quantity", 0), _negated=True),
                            models.Q(("event_count", 0), _negated=True),
                            _connector="OR",
                        ),
                        fields=["changed_at"],
                        name="invoicing_late_usage_open",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("invoice", "meter"), name="invoicing_late_usage_is_one_per_meter"),
                    models.CheckConstraint(
                        condition=models.Q(("first_noticed_at__lte", models.F("changed_at"))),
                        name="invoicing_late_usage_was_noticed_before_it_changed",
                    ),
                ],
            },
        ),
        migrations.RunSQL(_FILL, migrations.RunSQL.noop),
    ]
