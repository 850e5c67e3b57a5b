"""An index by hour that serves whole hours alone."""

from django.db import migrations, models


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
    ]
