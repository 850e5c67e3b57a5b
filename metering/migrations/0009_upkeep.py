"""An index by hour that serves whole hours alone; what was sent again is added up and forgotten in time."""

from django.db import migrations, models

from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [("metering", "0008_anomalies")]

    operations = [
        migrations.RemoveIndex(model_name="usagesummary", name="metering_usage_summary_by_hour"),
        migrations.AddIndex(
            model_name="usagesummary",
            index=models.Index(
                models.Case(models.When(granularity="hour", group_key="", then=models.F("period_start"))),
                name="metering_usage_summary_by_hour",
            ),
        ),
        migrations.AddIndex(
            model_name="repeatedevent",
            index=models.Index(
                condition=models.Q(("batch_id", 0), _negated=True), fields=["id"], name="metering_repeated_single"
            ),
        ),
        database.run_sql_file(__file__, "upkeep.sql", "upkeep_reverse.sql"),
    ]
