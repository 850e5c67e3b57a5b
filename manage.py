#!/usr/bin/env python
"""The service's command line: Django's commands and our own."""

import importlib
import os
import sys

# These start what the settings ask for, so they run before the settings are read.
BEFORE_SETTINGS = {"up": "billing_site.supervisor.up", "demo": "billing_site.demo.command"}


def main() -> None:
    """Run one command under the settings of ``billing_site``."""
    if len(sys.argv) > 1 and sys.argv[1] in BEFORE_SETTINGS:
        sys.exit(importlib.import_module(BEFORE_SETTINGS[sys.argv[1]]).main(sys.argv[2:]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415  (settings must be named first)

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
