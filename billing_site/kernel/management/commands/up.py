"""Lists ``up`` in ``manage.py help``. ``manage.py`` itself runs it, before the settings are read."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from billing_site.supervisor import up


class Command(BaseCommand):
    """The whole service on this machine, until Ctrl-C."""

    help = str(up.__doc__)

    def print_help(self, prog_name: str, subcommand: str) -> None:
        up.parser().print_help()

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(up.main([]))
