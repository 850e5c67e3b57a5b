"""The roll-up of gateway requests."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("metering", "0005_dead_letters")]

    operations = []
