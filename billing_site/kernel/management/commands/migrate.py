"""Django's ``migrate``, run as the role that owns the schema; afterwards the service's role gets its grants."""

from typing import Any

from django.core.management.base import CommandParser
from django.core.management.commands import migrate

from billing_site.kernel import database


class Command(migrate.Command):
    """``migrate`` on the alias ``owner`` (``OWNER_DATABASE_URL``) unless told otherwise."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Django's own, with another default."""
        super().add_arguments(parser)
        parser.set_defaults(database=database.owner_alias())

    def handle(self, *args: Any, **options: Any) -> None:
        """Django's own."""
        super().handle(*args, **options)
