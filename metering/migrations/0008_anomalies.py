"""Anomalies of usage."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("metering", "0007_quotas")]

    operations = []
