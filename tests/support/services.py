"""
A pytest plugin: embedded PostgreSQL and Valkey for one run of the tests, shared by all its workers.

It is a plugin (``-p`` in pyproject.toml) and no conftest, because pytest-django loads the settings before any conftest
is read, and the settings need addresses. The process that the user started runs the servers; each xdist worker finds
them in its environment and uses a database and a broker number of its own. Nothing here imports Django.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from billing_site.embedded import postgres, valkey

ROOT = Path(__file__).resolve().parent.parent.parent
HANDED_DOWN = "BILLING_TEST_SERVICES"
POSTGRES_VERSION = "BILLING_TEST_POSTGRES"  # "15" for Debian's, else the embedded one
FOLDER_PREFIX = "billing-tests-"
TEMPLATE = "billing_template"
SECRET_KEY = "a secret key for tests, which is as long as Django's deployment check asks for"

# A machine that loses power takes the test databases with it, and may.
FORGETFUL = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
}


@dataclass(frozen=True, kw_only=True)
class Services:
    """The servers of this run, as every worker sees them."""

    cluster: postgres.Cluster
    broker: valkey.Server
    folder: Path
    worker: int

    @property
    def database(self) -> str:
        """The database of this worker."""
        return f"billing_{self.worker}"

    def environment(self, database: str) -> dict[str, str]:
        """The variables under which the service, or a process of it, uses ``database``."""
        return {
            "DATABASE_URL": self.cluster.url(role=postgres.SERVICE_ROLE, database=database),
            "OWNER_DATABASE_URL": self.cluster.url(role=postgres.OWNER_ROLE, database=database),
            "REDIS_URL": self.broker.url(database=self.worker % valkey.DATABASES),
            "BILLING_VAR": str(self.folder / "var"),
            "SECRET_KEY": SECRET_KEY,
            "ENVIRONMENT": "test",
            "DEBUG": "false",
            "HTTPS": "false",
            "LOG_FORMAT": "console",
            "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
            "STRIPE_API_KEY": "sk_test_of_the_test_suite",
            "STRIPE_WEBHOOK_SECRET": "whsec_of_the_test_suite",
            # A port that nobody listens on: a test that forgot its stand-in must not reach anyone.
            "STRIPE_API_BASE": "http://127.0.0.1:9",
        }

    def create_database(self, name: str) -> None:
        """Copy the migrated template, which the first to ask for it makes."""
        self._make_template()
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}"), name, TEMPLATE, postgres.OWNER_ROLE)
        postgres.restrict(self.cluster, database=name)

    def drop_database(self, name: str) -> None:
        """Drop a database, with whoever is still connected to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"), name)

    def _make_template(self) -> None:
        migrated = self.folder / "template-is-migrated"
        with _locked(self.folder / "template.lock"):
            if migrated.exists():
                return
            self.drop_database(TEMPLATE)
            postgres.provision(self.cluster, database=TEMPLATE)
            environment = {**os.environ, **self.environment(TEMPLATE)}
            command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--skip-checks", "--verbosity", "0"]
            done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, cwd=ROOT)
            if done.returncode != 0:
                pytest.exit(f"manage.py migrate failed on an empty database:\n{done.stdout}{done.stderr}", 3)
            migrated.touch()

    def _execute(self, statement: sql.SQL, *names: str) -> None:
        url = self.cluster.url(role=postgres.SUPERUSER, database="postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.format(*map(sql.Identifier, names)))


def bare_environment(**more: str) -> dict[str, str]:
    """The environment as the user had it, for processes that find services of their own."""
    added = {*current().environment(""), HANDED_DOWN}
    return {**{name: value for name, value in os.environ.items() if name not in added}, **more}


_services: Services | None = None
_processes: list[subprocess.Popen[bytes]] = []


def current() -> Services:
    """The services of this run."""
    if _services is None:
        raise RuntimeError("the plugin tests.support.services has not started the services")
    return _services


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Generator[None, object, object]:
    """Before pytest-django reads the settings: start the servers, or find those of the run we are a worker of."""
    global _services  # noqa: PLW0603  (pytest has no other place that early)
    _services = _find() if HANDED_DOWN in os.environ and "PYTEST_XDIST_WORKER" in os.environ else _start()
    os.environ.update(_services.environment(_services.database))
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Stop the servers, if we are the process that runs them."""
    if not _processes:
        return
    broker, server = _processes
    valkey.stop(broker)
    postgres.stop(server)
    _processes.clear()
    shutil.rmtree(current().folder, ignore_errors=True)


def pytest_report_header() -> str:
    """Say which PostgreSQL it is."""
    return f"services: PostgreSQL at {current().cluster.bin_folder}"


def _find() -> Services:
    handed_down = json.loads(os.environ[HANDED_DOWN])
    folder = Path(handed_down["folder"])
    return Services(
        cluster=postgres.Cluster(
            bin_folder=Path(handed_down["bin_folder"]),
            data_folder=Path(handed_down["data_folder"]),
            port=handed_down["postgres_port"],
        ),
        broker=valkey.Server(binary=Path(), folder=folder, port=handed_down["valkey_port"]),
        folder=folder,
        worker=int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) + 1,
    )


def _start() -> Services:
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user where we are root
    version = os.environ.get(POSTGRES_VERSION)
    bin_folder = postgres.debian_binaries(int(version)) if version else postgres.embedded_binaries()
    cluster = postgres.prepare(folder=folder / "postgres", bin_folder=bin_folder, settings=FORGETFUL)
    broker = valkey.prepare(folder=folder / "valkey")
    _processes.append(valkey.start(broker, log=folder / "valkey.log"))
    _processes.append(postgres.start(cluster, log=folder / "postgres.log"))
    os.environ[HANDED_DOWN] = json.dumps(
        {
            "folder": str(folder),
            "bin_folder": str(bin_folder),
            "data_folder": str(cluster.data_folder),
            "postgres_port": cluster.port,
            "valkey_port": broker.port,
        },
    )
    return Services(cluster=cluster, broker=broker, folder=folder, worker=0)


def _sweep() -> None:
    """Remove what runs that were killed left behind; their servers died with them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        pid = folder.name.removeprefix(FOLDER_PREFIX).split("-")[0]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, ValueError):
            continue


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
