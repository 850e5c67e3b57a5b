#!/usr/bin/env python
"""The service's command line: Django's commands and our own."""

import os
import sys


def main() -> None:
    """Run one command under the settings of ``billing_site``."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415  (settings must be named first)

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
