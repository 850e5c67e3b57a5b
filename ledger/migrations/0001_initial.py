"""The ledger: its tables by Django, its promises by SQL."""

import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import billing_site.kernel.fields
from billing_site.kernel import database


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="AccountType",
            fields=[
                ("name", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("code", models.CharField(max_length=4, unique=True)),
                (
                    "category",
                    models.CharField(
                        choices=[
                            ("asset", "asset"),
                            ("liability", "liability"),
                            ("revenue", "revenue"),
                            ("expense", "expense"),
                        ],
                        max_length=10,
                    ),
                ),
                ("normal_side", models.CharField(choices=[("debit", "debit"), ("credit", "credit")], max_length=6)),
                (
                    "scope",
                    models.CharField(
                        choices=[("book", "book"), ("tenant", "tenant"), ("channel", "channel")], max_length=7
                    ),
                ),
                ("floor_cents", models.BigIntegerField(blank=True, null=True)),
                ("shard_count", models.PositiveSmallIntegerField(default=1)),
            ],
            options={
                "db_table": "ledger_account_type",
                "ordering": ["code"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("name", "code", "normal_side", "scope"), name="ledger_account_type_identity"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("normal_side__in", ["debit", "credit"])),
                        name="ledger_normal_side_is_debit_or_credit",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("scope__in", ["book", "tenant", "channel"])),
                        name="ledger_scope_is_book_tenant_or_channel",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("category__in", ["asset", "liability", "revenue", "expense"])),
                        name="ledger_category_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("shard_count", 1),
                            models.Q(("floor_cents__isnull", True), ("shard_count__range", (1, 64))),
                            _connector="OR",
                        ),
                        name="ledger_floored_account_has_one_shard",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Book",
            fields=[
                ("code", billing_site.kernel.fields.CodeField(max_length=64, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "db_table": "ledger_book",
                "ordering": ["code"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("code__regex", "^[A-Za-z0-9._:-]{1,64}$")), name="ledger_book_has_a_code"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Account",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("type", models.CharField(max_length=40)),
                ("code", models.CharField(max_length=4)),
                ("normal_side", models.CharField(choices=[("debit", "debit"), ("credit", "credit")], max_length=6)),
                (
                    "scope",
                    models.CharField(
                        choices=[("book", "book"), ("tenant", "tenant"), ("channel", "channel")], max_length=7
                    ),
                ),
                ("currency", billing_site.kernel.fields.CurrencyField(max_length=3)),
                ("tenant_id", models.CharField(blank=True, default="", max_length=64)),
                ("channel", models.CharField(blank=True, default="", max_length=64)),
                ("shard_count", models.PositiveSmallIntegerField(default=1)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "book",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="ledger.book"),
                ),
            ],
            options={
                "db_table": "ledger_account",
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Transaction",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("idempotency_key", models.CharField(max_length=255)),
                ("fingerprint", models.BinaryField(max_length=32)),
                ("kind", models.CharField(max_length=64)),
                ("tenant_id", models.CharField(blank=True, default="", max_length=64)),
                ("currency", billing_site.kernel.fields.CurrencyField(max_length=3)),
                ("occurred_at", models.DateTimeField()),
                ("effective_at", models.DateTimeField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("reference_type", models.CharField(blank=True, default="", max_length=64)),
                ("reference_id", models.CharField(blank=True, default="", max_length=255)),
                ("description", models.TextField(blank=True, default="")),
                ("metadata", models.JSONField(blank=True, default=dict)),
                ("entry_count", models.PositiveIntegerField()),
                ("amount_cents", models.BigIntegerField()),
                (
                    "book",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="ledger.book",
                    ),
                ),
                (
                    "reverses",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reversed_by",
                        to="ledger.transaction",
                    ),
                ),
            ],
            options={
                "db_table": "ledger_transaction",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Entry",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("line_no", models.PositiveIntegerField()),
                ("currency", billing_site.kernel.fields.CurrencyField(max_length=3)),
                ("tenant_id", models.CharField(blank=True, default="", max_length=64)),
                ("account_tenant_id", models.CharField(blank=True, default="", max_length=64)),
                ("shard", models.PositiveSmallIntegerField(default=0)),
                ("entry_type", models.CharField(choices=[("debit", "debit"), ("credit", "credit")], max_length=6)),
                ("amount_cents", models.BigIntegerField()),
                ("account_seq", models.BigIntegerField()),
                ("balance_after_cents", models.BigIntegerField()),
                ("effective_at", models.DateTimeField()),
                (
                    "account",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="entries",
                        to="ledger.account",
                    ),
                ),
                (
                    "book",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="ledger.book",
                    ),
                ),
                (
                    "transaction",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="entries",
                        to="ledger.transaction",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "entries",
                "db_table": "ledger_entry",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Balance",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("shard", models.PositiveSmallIntegerField(default=0)),
                ("balance_cents", models.BigIntegerField(default=0)),
                ("last_seq", models.BigIntegerField(default=0)),
                ("floor_cents", models.BigIntegerField(blank=True, null=True)),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="balances",
                        to="ledger.account",
                    ),
                ),
            ],
            options={
                "db_table": "ledger_balance",
                "ordering": ["account", "shard"],
                "constraints": [
                    models.UniqueConstraint(fields=("account", "shard"), name="ledger_balance_one_per_shard"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("floor_cents__isnull", True),
                            ("balance_cents__gte", models.F("floor_cents")),
                            _connector="OR",
                        ),
                        name="ledger_balance_not_below_floor",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("last_seq__gt", 0), models.Q(("balance_cents", 0), ("last_seq", 0)), _connector="OR"
                        ),
                        name="ledger_balance_starts_at_zero",
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="account",
            index=models.Index(
                condition=models.Q(("tenant_id", ""), _negated=True),
                fields=["tenant_id", "id"],
                name="ledger_account_by_tenant",
            ),
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.UniqueConstraint(
                fields=("book", "type", "currency", "tenant_id", "channel"), name="ledger_account_opened_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.UniqueConstraint(
                fields=("id", "book", "currency", "tenant_id"), name="ledger_account_identity"
            ),
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("channel", ""), ("scope", "book"), ("tenant_id", "")),
                    models.Q(("channel", ""), ("scope", "tenant"), models.Q(("tenant_id", ""), _negated=True)),
                    models.Q(("scope", "channel"), ("tenant_id", ""), models.Q(("channel", ""), _negated=True)),
                    _connector="OR",
                ),
                name="ledger_account_stands_in_its_scope",
            ),
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.CheckConstraint(
                condition=models.Q(("currency__regex", "^[A-Z]{3}$")), name="ledger_account_currency_is_a_code"
            ),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(fields=["tenant_id", "id"], name="ledger_transaction_by_tenant"),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(fields=["reference_id", "id"], name="ledger_txn_by_reference"),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.UniqueConstraint(fields=("book", "idempotency_key"), name="ledger_fact_posted_once"),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.UniqueConstraint(
                fields=("id", "book", "currency", "tenant_id"), name="ledger_transaction_identity"
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.UniqueConstraint(
                condition=models.Q(("reverses__isnull", False)),
                fields=("reverses",),
                name="ledger_transaction_reversed_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("idempotency_key", ""), _negated=True), name="ledger_transaction_names_its_fact"
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("entry_count__gte", 2)), name="ledger_transaction_has_two_entries"
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_cents__gt", 0)), name="ledger_transaction_moves_something"
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("effective_at__gte", models.F("occurred_at"))),
                name="ledger_books_date_not_before_the_fact",
            ),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(fields=["account", "id"], name="ledger_entry_by_account"),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(fields=["tenant_id", "id"], name="ledger_entry_by_tenant"),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=django.contrib.postgres.indexes.BrinIndex(
                fields=["effective_at"],
                name="ledger_entry_by_books_date",
                opclasses=["timestamptz_minmax_multi_ops"],
                pages_per_range=32,
            ),
        ),
        migrations.AddConstraint(
            model_name="entry",
            constraint=models.UniqueConstraint(
                fields=("transaction", "line_no"), name="ledger_entry_line_written_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="entry",
            constraint=models.UniqueConstraint(
                fields=("account", "shard", "account_seq"), name="ledger_entry_numbered_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="entry",
            constraint=models.CheckConstraint(
                condition=models.Q(("entry_type__in", ["debit", "credit"])), name="ledger_entry_is_debit_or_credit"
            ),
        ),
        migrations.AddConstraint(
            model_name="entry",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_cents__range", (1, 1000000000000000))),
                name="ledger_entry_amount_is_in_range",
            ),
        ),
        migrations.AddConstraint(
            model_name="entry",
            constraint=models.CheckConstraint(
                condition=models.Q(("account_seq__gte", 1)), name="ledger_entry_is_numbered_from_one"
            ),
        ),
        migrations.AddConstraint(
            model_name="entry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("account_tenant_id", ""),
                    ("tenant_id", ""),
                    ("account_tenant_id", models.F("tenant_id")),
                    _connector="OR",
                ),
                name="ledger_entry_stays_with_its_tenant",
            ),
        ),
        database.run_sql_file(__file__, "tables.sql", "tables_reverse.sql"),
        database.run_sql_file(__file__, "chart.sql", "chart_reverse.sql"),
        database.run_sql_file(__file__, "append_only.sql", "append_only_reverse.sql"),
        database.run_sql_file(__file__, "checking.sql", "checking_reverse.sql"),
        database.run_sql_file(__file__, "balanced.sql", "balanced_reverse.sql"),
        database.run_sql_file(__file__, "opening.sql", "opening_reverse.sql"),
        database.run_sql_file(__file__, "posting.sql", "posting_reverse.sql"),
    ]
