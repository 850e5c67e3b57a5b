"""Make a login for the admin, or give an existing one a new password and role."""

import getpass
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model, password_validation
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from billing_site.kernel import commands

FINANCE = "finance"


@dataclass(frozen=True)
class Made:
    """The login, without its password."""

    username: str
    role: str
    created: bool


class Command(commands.OperatorCommand):
    """``create_admin_login NAME --role superuser|finance``, the password on standard input."""

    help = f"{__doc__} The password is read from standard input, so that no list of processes shows it."

    def add_options(self, parser: CommandParser) -> None:
        """Who, and what they may do."""
        parser.add_argument("username")
        parser.add_argument(
            "--role", choices=("superuser", FINANCE), required=True, help="finance may look at everything"
        )

    def run(self, *, as_of: datetime, **options: Any) -> Made:
        """Set password and role; safe to repeat."""
        is_typed = sys.stdin.isatty()
        password = getpass.getpass("Password: ") if is_typed else sys.stdin.readline().rstrip("\n")
        try:
            password_validation.validate_password(password)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        is_superuser = options["role"] == "superuser"
        with transaction.atomic():
            user, created = get_user_model().objects.get_or_create(username=options["username"])
            user.is_staff, user.is_superuser = True, is_superuser
            user.set_password(password)
            user.save()
            user.groups.set([] if is_superuser else [_finance()])
        return Made(user.username, options["role"], created)


def _finance() -> Group:
    """The group that may look at everything, also at what later migrations add."""
    group, _ = Group.objects.get_or_create(name=FINANCE)
    group.permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return group
