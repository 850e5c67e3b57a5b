"""Periods: closings of a book, and what each account held at the end of each."""

import django.db.models.deletion
from django.db import migrations, models

from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [
        ("ledger", "0002_sealing"),
    ]

    operations = [
        migrations.CreateModel(
            name="Period",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("revision", models.PositiveIntegerField()),
                ("state", models.CharField(choices=[("closed", "closed"), ("reopened", "reopened")], max_length=8)),
                ("closed_at", models.DateTimeField()),
                ("closed_by", models.CharField(max_length=255)),
                ("close_reason", models.CharField(max_length=2000)),
                ("reopened_at", models.DateTimeField(blank=True, null=True)),
                ("reopened_by", models.CharField(blank=True, default="", max_length=255)),
                ("reopen_reason", models.CharField(blank=True, default="", max_length=2000)),
                (
                    "book",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="ledger.book"),
                ),
            ],
            options={
                "db_table": "ledger_period",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="PeriodBalance",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("balance_cents", models.BigIntegerField()),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="ledger.account",
                    ),
                ),
                (
                    "period",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="balances",
                        to="ledger.period",
                    ),
                ),
            ],
            options={
                "db_table": "ledger_period_balance",
                "ordering": ["period", "account"],
            },
        ),
        migrations.AddConstraint(
            model_name="period",
            constraint=models.UniqueConstraint(
                fields=("book", "starts_at", "revision"), name="ledger_period_revised_in_order"
            ),
        ),
        migrations.AddConstraint(
            model_name="period",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "closed")), fields=("book", "ends_at"), name="ledger_period_closed_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="period",
            constraint=models.CheckConstraint(
                condition=models.Q(("ends_at__gt", models.F("starts_at"))), name="ledger_period_ends_after_it_starts"
            ),
        ),
        migrations.AddConstraint(
            model_name="period",
            constraint=models.CheckConstraint(
                condition=models.Q(("closed_at__gte", models.F("ends_at"))), name="ledger_period_is_over_when_closed"
            ),
        ),
        migrations.AddConstraint(
            model_name="period",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_by", ""), _negated=True), models.Q(("close_reason", ""), _negated=True)
                ),
                name="ledger_period_says_who_closed_it_and_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="period",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("reopen_reason", ""), ("reopened_at__isnull", True), ("reopened_by", ""), ("state", "closed")
                    ),
                    models.Q(
                        ("reopened_at__isnull", False),
                        ("state", "reopened"),
                        models.Q(("reopened_by", ""), _negated=True),
                        models.Q(("reopen_reason", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="ledger_period_says_who_reopened_it_and_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="periodbalance",
            constraint=models.UniqueConstraint(
                fields=("period", "account"), name="ledger_snapshot_holds_an_account_once"
            ),
        ),
        database.run_sql_file(__file__, "periods.sql", "periods_reverse.sql"),
    ]
