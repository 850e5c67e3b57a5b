"""What becomes of dead letters."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("metering", "0004_archives")]

    operations = []
