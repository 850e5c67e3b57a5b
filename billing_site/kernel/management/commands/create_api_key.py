"""Make an API key and print its secret once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from billing_site.kernel import commands, keys, models


@dataclass(frozen=True)
class Created:
    """The new key; ``api_key`` is shown this once."""

    id: str
    api_key: str
    name: str
    scopes: list[str]
    tenant_id: str | None


class Command(commands.OperatorCommand):
    """``create_api_key NAME --scope events:write --scope usage:read [--tenant acme-corp]``."""

    help = __doc__ or ""

    def add_options(self, parser: CommandParser) -> None:
        """What the key may do, and for whom."""
        parser.add_argument("name", help="which service will hold the key")
        parser.add_argument(
            "--scope",
            action="append",
            required=True,
            dest="scopes",
            metavar="SCOPE",
            help=f"may be repeated; one of {', '.join(models.SCOPES)}",
        )
        parser.add_argument("--tenant", default="", dest="tenant_id", help="bind the key to this tenant alone")
        parser.add_argument("--rate-limit", default="", metavar="LIMIT", help="its own, such as 600/minute;50000/day")

    def run(self, *, as_of: datetime, **options: Any) -> Created:
        """Store the hash, answer the secret."""
        key, secret = keys.create_api_key(
            name=options["name"],
            scopes=options["scopes"],
            tenant_id=options["tenant_id"],
            rate_limit=options["rate_limit"],
            now=as_of,
        )
        return Created(key.pk, secret, key.name, list(key.scopes), key.tenant_id or None)
