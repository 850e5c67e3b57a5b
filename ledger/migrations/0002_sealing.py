"""Sealing: who wrote each transaction, and the chained blocks that settled transactions are hashed into."""

import django.db.models.deletion
from django.db import migrations, models

import ledger.fields
from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField(
                    model_name="transaction",
                    name="written_xid",
                    field=ledger.fields.TransactionNumberField(editable=False),
                ),
                migrations.AddField(
                    model_name="transaction",
                    name="system_identifier",
                    field=models.BigIntegerField(editable=False),
                ),
            ],
            database_operations=[database.run_sql_file(__file__, "writers.sql", "writers_reverse.sql")],
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(fields=["book", "system_identifier", "written_xid", "id"], name="ledger_txn_by_writer"),
        ),
        migrations.CreateModel(
            name="Block",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField()),
                ("system_identifier", models.BigIntegerField()),
                ("transaction_count", models.PositiveIntegerField()),
                ("first_transaction_id", models.BigIntegerField()),
                ("last_transaction_id", models.BigIntegerField()),
                ("last_written_xid", ledger.fields.TransactionNumberField()),
                ("sealed_at", models.DateTimeField()),
                ("previous_hash", models.BinaryField(max_length=32)),
                ("digests", models.BinaryField()),
                ("hash", models.BinaryField(max_length=32)),
                (
                    "book",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="ledger.book"),
                ),
            ],
            options={
                "db_table": "ledger_block",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["book", "system_identifier", "number"], name="ledger_block_by_cluster"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("book", "number"), name="ledger_block_numbered_once"),
                    models.UniqueConstraint(fields=("book", "number", "hash"), name="ledger_block_identity"),
                    models.CheckConstraint(
                        condition=models.Q(("number__gte", 1)), name="ledger_block_is_numbered_from_one"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("transaction_count__range", (1, 10000))),
                        name="ledger_block_holds_1_to_10000",
                    ),
                ],
            },
        ),
        database.run_sql_file(__file__, "sealing.sql", "sealing_reverse.sql"),
    ]
