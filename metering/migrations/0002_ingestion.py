"""What ingestion keeps beside events: corrections, and what was sent again."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("metering", "0001_initial")]

    operations = []
