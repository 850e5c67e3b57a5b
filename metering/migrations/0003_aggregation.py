"""Meters, changed and quarantined windows, split hours, daily and monthly summaries."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("metering", "0002_ingestion")]

    operations = []
