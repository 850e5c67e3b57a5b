#!/usr/bin/env python
"""The service's command line: Django's commands and our own."""

import importlib
import os
import sys
from collections.abc import Sequence

# These start what the settings ask for, so they run before the settings are read.
BEFORE_SETTINGS = {"up": "billing_site.supervisor.up", "demo": "billing_site.demo.command"}


def main(arguments: Sequence[str]) -> None:
    """Run one command under the settings of ``billing_site``."""
    match arguments:
        case [name, *rest] if name in BEFORE_SETTINGS:
            sys.exit(importlib.import_module(BEFORE_SETTINGS[name]).main(rest))
        case ["help", name] if name in BEFORE_SETTINGS:
            importlib.import_module(BEFORE_SETTINGS[name]).parser().print_help()
            return
        case [] | ["help" | "--help"]:
            sys.stdout.write(f"Without any settings: {', '.join(BEFORE_SETTINGS)}\n\n")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415  (settings must be named first)

    execute_from_command_line(["manage.py", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
