"""Factories of the kernel's rows."""

from datetime import UTC, datetime
from typing import Any

import factory
from rest_framework.test import APIClient

from billing_site.kernel import keys, models


class OutboxMessageFactory(factory.django.DjangoModelFactory[models.OutboxMessage]):
    """A message that nobody has sent yet."""

    class Meta:
        model = models.OutboxMessage

    topic = "invoice.finalized"
    tenant_id = "acme-corp"
    reference_id = factory.Sequence(lambda n: f"inv_{n:026d}")
    payload = factory.LazyFunction(dict)
    created_at = datetime(2026, 11, 1, tzinfo=UTC)


class ApiKeyFactory(factory.django.DjangoModelFactory[models.ApiKey]):
    """A key whose secret nobody knows; ``client`` makes one that is used."""

    class Meta:
        model = models.ApiKey

    name = factory.Sequence(lambda n: f"service {n}")
    prefix = factory.Sequence(lambda n: f"bk_test_{n:08d}")
    secret_hash = b"\0" * 32
    scopes = ["admin"]
    created_at = datetime(2026, 11, 1, tzinfo=UTC)


def client(*scopes: str, tenant_id: str = "", **headers: Any) -> APIClient:
    """An API client with a real key of these scopes (``admin`` without any), bound to ``tenant_id`` if given."""
    _, secret = keys.create_api_key(
        name="tests",
        scopes=scopes or ("admin",),
        tenant_id=tenant_id,
        now=datetime(2026, 11, 1, tzinfo=UTC),
    )
    made = APIClient(raise_request_exception=False)
    made.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}", **headers)
    return made
