"""Lists ``demo`` in ``manage.py help``. ``manage.py`` itself runs it, before the settings are read."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from billing_site.demo import command


class Command(BaseCommand):
    """The service with two months of usage in it, until Ctrl-C."""

    help = str(command.__doc__)

    def print_help(self, prog_name: str, subcommand: str) -> None:
        command.parser().print_help()

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(command.main([]))
