"""Posting and its checks as they are written now, for a database that was made with an earlier text of them."""

from django.db import migrations

from billing_site.kernel import database


class Migration(migrations.Migration):
    dependencies = [("ledger", "0003_periods")]

    operations = [
        database.run_sql_file(__file__, "checking.sql", "checking.sql"),
        database.run_sql_file(__file__, "posting.sql", "posting.sql"),
    ]
