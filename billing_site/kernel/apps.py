"""The kernel as a Django app: its tables, its commands, and the grants after each ``migrate``."""

from typing import Any, ClassVar

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class KernelConfig(AppConfig):
    """``kernel`` in migrations and permissions."""

    name = "billing_site.kernel"
    label = "kernel"
    verbose_name = "Platform"
    service_privileges: ClassVar[dict[str, str]] = {"kernel_outbox_message": "SELECT, INSERT, UPDATE"}

    def ready(self) -> None:
        """Checks are registered by their import."""
        from billing_site.kernel import checks  # noqa: F401, PLC0415  (models must be loaded first)

        post_migrate.connect(_grant, sender=self, dispatch_uid="grant the service role")


def _grant(using: str, **_: Any) -> None:
    from billing_site.kernel import database  # noqa: PLC0415  (needs the app registry)

    database.grant_service_role(using)
