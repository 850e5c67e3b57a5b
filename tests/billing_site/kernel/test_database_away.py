"""While PostgreSQL is away, callers are told to come back: 503, and nothing of the inside."""

from collections.abc import Iterator

import psycopg
import pytest
from django.db import connections
from psycopg import sql

from billing_site.embedded import postgres
from tests.factories import kernel as factories
from tests.support import services

EVENT = {"tenant_id": "acme", "event_type": "api_call", "idempotency_key": "k"}


@pytest.fixture
def refusing(committed_db: str) -> Iterator[None]:
    """This test's database takes no connections, as while the server restarts; those that are open are cut."""
    url = services.current().cluster.url(role=postgres.SUPERUSER, database="postgres")
    name = sql.Identifier(committed_db)
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [committed_db])
        yield
        server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    connections["default"].close()


@pytest.mark.parametrize(("method", "path"), [("get", "/v1/tenants"), ("post", "/v1/events"), ("post", "/v1/plans")])
def test_each_door_answers_503_with_retry_after(
    committed_db: str, request: pytest.FixtureRequest, method: str, path: str
) -> None:
    client = factories.client()
    request.getfixturevalue("refusing")
    response = getattr(client, method)(path, EVENT if method == "post" else None, format="json")
    assert response.status_code == 503, response.content
    assert response["Content-Type"] == "application/problem+json"
    assert response["Retry-After"] == "5"
    assert response.json()["code"] == "unavailable"
    assert "billing_service" not in response.content.decode()
