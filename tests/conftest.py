"""
Databases for tests.

``@pytest.mark.django_db``: the worker's database, as the service's role, in a transaction that is rolled back.
``committed_db``: a fresh copy of the migrated template, with real commits, for threads, triggers at commit, processes.
``owner_cursor`` and ``superuser_cursor``: raw SQL as one who can get round the service's code, to attack the database's
own rules.
"""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from billing_site.embedded import postgres
from billing_site.kernel import copies
from tests.support import services

_copies = itertools.count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse what would empty the tables between tests: the service's role may not, and a fresh copy is as fast."""
    for item in items:
        marker = item.get_closest_marker("django_db")
        fixtures = getattr(item, "fixturenames", ())
        if (marker and marker.kwargs.get("transaction")) or {"transactional_db", "live_server"} & set(fixtures):
            raise pytest.UsageError(f"{item.nodeid}: use the fixture committed_db for real commits")


@pytest.fixture(autouse=True)
def no_copies_of_other_tests() -> None:
    """What the process copied from the database is of a test that is over."""
    copies.forget_all()


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """In place of pytest-django's: the worker's database is a copy of the template, made once."""
    running = services.current()
    running.drop_database(running.database)
    running.create_database(running.database)
    yield
    with django_db_blocker.unblock():
        connections.close_all()
    running.drop_database(running.database)


@pytest.fixture
def committed_db(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A database of this test alone, empty but migrated; its name. Processes that the test starts use it too."""
    running = services.current()
    name = f"{running.database}_{next(_copies)}"
    running.create_database(name)
    environment = running.environment(name)
    before = {variable: os.environ[variable] for variable in environment}
    with django_db_blocker.unblock():
        _point_connections_at(name)
        os.environ.update(environment)
        yield name
        _point_connections_at(running.database)
        os.environ.update(before)
    running.drop_database(name)


@pytest.fixture
def owner_cursor(request: pytest.FixtureRequest) -> Iterator[psycopg.Cursor]:
    """A raw cursor of the role that owns the schema. Commits with ``committed_db``, else its work is rolled back."""
    with _raw_cursor(request, role=postgres.OWNER_ROLE) as cursor:
        yield cursor


@pytest.fixture
def superuser_cursor(request: pytest.FixtureRequest) -> Iterator[psycopg.Cursor]:
    """A raw cursor of PostgreSQL's superuser. Commits with ``committed_db``, else its work is rolled back."""
    with _raw_cursor(request, role=postgres.SUPERUSER) as cursor:
        yield cursor


@contextmanager
def _raw_cursor(request: pytest.FixtureRequest, *, role: str) -> Iterator[psycopg.Cursor]:
    running = services.current()
    committed = "committed_db" in request.fixturenames
    database = request.getfixturevalue("committed_db" if committed else "django_db_setup") or running.database
    url = running.cluster.url(role=role, database=str(database))
    with psycopg.connect(url, autocommit=committed) as connection, connection.cursor() as cursor:
        yield cursor
        if not committed:
            connection.rollback()


def _point_connections_at(database: str) -> None:
    connections.close_all()
    for alias in connections:
        connections[alias].settings_dict["NAME"] = database
