"""Marketplaces as a Django app, and what the service's role may do to its table."""

from typing import ClassVar

from django.apps import AppConfig


class MarketplacesConfig(AppConfig):
    """A customer at a channel is never deleted: money may still be under its name."""

    name = "marketplaces"
    verbose_name = "Marketplaces"
    service_privileges: ClassVar[dict[str, str]] = {"marketplaces_channel_customer": "SELECT, INSERT, UPDATE"}
