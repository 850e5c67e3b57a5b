"""What becomes of dead letters."""

import django.db.models.deletion
from django.db import migrations, models

from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [("metering", "0004_archives")]

    operations = [
        migrations.AlterModelOptions(
            name="deadletter",
            options={
                "ordering": ["-id"],
                "permissions": [
                    ("replay_deadletter", "Can replay dead letters"),
                    ("discard_deadletter", "Can discard dead letters"),
                ],
            },
        ),
        migrations.AddField(
            model_name="deadletter",
            name="event_type",
            field=models.CharField(blank=True, default="", max_length=100),
        ),
        migrations.AddField(
            model_name="deadletter",
            name="event_hour",
            field=models.IntegerField(default=0),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="deadletter",
            name="opening_id",
            field=models.CharField(default="", max_length=40),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="deadletter",
            name="resolved_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="deadletter",
            name="resolved_by",
            field=models.CharField(blank=True, default="", max_length=200),
        ),
        migrations.AddField(
            model_name="deadletter",
            name="reason",
            field=models.TextField(blank=True, default=""),
        ),
        # Of letters that were there before, no hour was kept but that of their arrival.
        migrations.RunSQL(
            "UPDATE metering_dead_letter SET opening_id = id,"
            " event_hour = floor(extract(epoch FROM first_seen_at) / 3600)::int",
            migrations.RunSQL.noop,
        ),
        migrations.AlterField(
            model_name="deadletter",
            name="state",
            field=models.CharField(
                choices=[("open", "Open"), ("replayed", "Replayed"), ("discarded", "Discarded")],
                default="open",
                max_length=16,
            ),
        ),
        migrations.RemoveConstraint(model_name="deadletter", name="metering_dead_letter_state_is_known"),
        migrations.AddConstraint(
            model_name="deadletter",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["open", "replayed", "discarded"])),
                name="metering_dead_letter_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="deadletter",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("resolved_at", None), ("resolved_by", ""), ("state", "open")),
                    models.Q(
                        models.Q(("state", "open"), _negated=True),
                        ("resolved_at__isnull", False),
                        models.Q(("resolved_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="metering_dead_letter_is_resolved_by_somebody",
            ),
        ),
        migrations.AddConstraint(
            model_name="deadletter",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "discarded"), models.Q(("reason", ""), _negated=True)),
                    models.Q(models.Q(("state", "discarded"), _negated=True), ("reason", "")),
                    _connector="OR",
                ),
                name="metering_dead_letter_is_discarded_with_a_reason",
            ),
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(fields=["tenant_id", "event_hour"], name="metering_dead_letter_by_hour"),
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(
                condition=models.Q(("state", "open")),
                fields=["code", "-id"],
                name="metering_dead_letter_by_reason",
            ),
        ),
        migrations.CreateModel(
            name="DeadLetterAction",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "step",
                    models.CharField(
                        choices=[
                            ("replayed", "Replayed"),
                            ("replay_failed", "Replay Failed"),
                            ("discarded", "Discarded"),
                            ("opened_again", "Opened Again"),
                        ],
                        max_length=16,
                    ),
                ),
                ("actor", models.CharField(max_length=200)),
                ("code", models.CharField(blank=True, default="", max_length=64)),
                ("detail", models.TextField(blank=True, default="")),
                ("reason", models.TextField(blank=True, default="")),
                ("event", models.TextField(blank=True, default="")),
                ("created_at", models.DateTimeField()),
                (
                    "letter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="actions",
                        to="metering.deadletter",
                    ),
                ),
            ],
            options={
                "db_table": "metering_dead_letter_action",
                "ordering": ["-id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("step__in", ["replayed", "replay_failed", "discarded", "opened_again"])),
                        name="metering_dead_letter_action_step_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("actor", ""), _negated=True),
                        name="metering_dead_letter_action_has_an_actor",
                    ),
                ],
            },
        ),
        database.run_sql_file(__file__, "dead_letters.sql", "dead_letters_reverse.sql"),
    ]
