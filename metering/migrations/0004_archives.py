"""Archived months, and the expiry of keys."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("metering", "0003_aggregation")]

    operations = []
