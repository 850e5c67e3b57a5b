"""Checks of the deployment (``manage.py check --deploy``)."""

from typing import Any

from django.conf import settings
from django.core import checks


@checks.register(checks.Tags.security, deploy=True)
def service_role_owns_nothing(**_: Any) -> list[checks.CheckMessage]:
    """The service must not connect as the role that owns the schema."""
    service, owner = (settings.DATABASES[alias]["USER"] for alias in ("default", "owner"))
    if service != owner:
        return []
    return [
        checks.Error(
            f"DATABASE_URL and OWNER_DATABASE_URL both connect as {service!r}",
            hint="Give the service a role of its own; the owner's role is for migrate alone.",
            id="kernel.E001",
        ),
    ]


@checks.register(checks.Tags.security, deploy=True)
def webhooks_are_signed(**_: Any) -> list[checks.CheckMessage]:
    """A Stripe key without a webhook secret would collect and never hear of it."""
    if not settings.STRIPE_API_KEY or settings.STRIPE_WEBHOOK_SECRETS:
        return []
    return [
        checks.Error(
            "STRIPE_API_KEY is set and STRIPE_WEBHOOK_SECRET is not",
            hint="Set the signing secret of the webhook endpoint.",
            id="kernel.E002",
        ),
    ]
