"""
Which children the service has, in the order of their start: database, broker, ``migrate``, web, worker, beat.

A database or broker whose address is in the environment is somebody else's and is not started. The children get every
address in their environment; ``services.json`` has the same for processes beside them.
"""

import functools
import os
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from billing_site.embedded import launch, ports, postgres, valkey
from billing_site.supervisor import processes, state

DATABASE = "billing"
USUAL_PORT = 8000
WEB_WORKERS = 2
WEB_THREADS = 8
TASK_PROCESSES = 2
MIGRATE_ATTEMPTS = 5
PROVISION_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Site:
    """The addresses of one running service, and what its children are told."""

    var: state.VarFolder
    port: int
    cluster: postgres.Cluster | None
    broker: valkey.Server | None
    database_url: str
    owner_database_url: str
    redis_url: str
    secret_key: str
    settings: Mapping[str, str]

    @property
    def base_url(self) -> str:
        """Where the web process is asked."""
        return f"http://{ports.LOOPBACK}:{self.port}"

    def environment(self) -> dict[str, str]:
        """What every process of the service finds in its environment; the owner's address is not in it."""
        own = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "SECRET_KEY": self.secret_key,
            "BILLING_VAR": str(self.var.path),
            "HTTPS": "false",  # it listens on loopback, without TLS
            "PYTHONUNBUFFERED": "1",
        }
        inherited = {name: value for name, value in os.environ.items() if name != "OWNER_DATABASE_URL"}
        return {**inherited, **own, **self.settings}

    def publish(self, pids: Mapping[str, int]) -> None:
        """Write ``services.json``: the addresses, and which process is who now."""
        by_setting = {name.lower(): value for name, value in self.settings.items() if name.startswith("STRIPE_")}
        content: dict[str, object] = {
            "base_url": self.base_url,
            "database_url": self.database_url,
            "owner_database_url": self.owner_database_url,
            "redis_url": self.redis_url,
            "secret_key": self.secret_key,
            **by_setting,
            "pid": os.getpid(),
            "pids": dict(pids),
        }
        state.write_json(self.var.services_file, content)


def prepare(*, var: state.VarFolder, port: int | None, settings: Mapping[str, str]) -> Site:
    """
    Decide on every address, and make the data folders of what is embedded; nothing is started.

    ``settings`` are further variables for the children. The caller holds the folder's lock.

    Raises:
        PostgresError, ValkeyError: an embedded service cannot be made.
        StartFailed: the port is taken.
    """
    web_port = _web_port(var, port)
    database_url = os.environ.get("DATABASE_URL", "")
    redis_url = os.environ.get("REDIS_URL", "")
    cluster = broker = None
    owner_url = os.environ.get("OWNER_DATABASE_URL") or database_url
    if not database_url:
        binaries = postgres.embedded_binaries()
        cluster = postgres.prepare(folder=var.path / "postgres", bin_folder=binaries)
        database_url = cluster.url(role=postgres.SERVICE_ROLE, database=DATABASE)
        owner_url = cluster.url(role=postgres.OWNER_ROLE, database=DATABASE)
    if not redis_url:
        broker = valkey.prepare(folder=var.path / "valkey")
        redis_url = broker.url()
    return Site(
        var=var,
        port=web_port,
        cluster=cluster,
        broker=broker,
        database_url=database_url,
        owner_database_url=owner_url,
        redis_url=redis_url,
        secret_key=os.environ.get("SECRET_KEY") or var.secret("secret-key"),
        settings=settings,
    )


def start(supervisor: processes.Supervisor, site: Site) -> None:
    """
    Start all children in order, and migrate between the database and those who use it.

    Raises:
        StartFailed: a child did not become ready, or ``migrate`` failed.
        PostgresError: the database holds something else.
        Stopped: the supervisor was asked to stop.
    """
    if site.cluster is not None:
        supervisor.start(_postgres(site.cluster))
        provision = functools.partial(postgres.provision, site.cluster, database=DATABASE)
        supervisor.repeat(provision, until=time.monotonic() + PROVISION_SECONDS, passing=psycopg.OperationalError)
    else:
        postgres.refuse_foreign(site.owner_database_url)
    if site.broker is not None:
        supervisor.start(_valkey(site.broker))
    supervisor.run(_migrate(site), attempts=MIGRATE_ATTEMPTS, log=supervisor.log("migrate"))
    for child in (_web(site), _worker(site), _beat(site)):
        supervisor.start(child)


def wipe(var: state.VarFolder) -> None:
    """Delete everything that the embedded services keep in the folder. The caller holds the folder's lock."""
    postgres.remove(var.path / "postgres")
    for folder in ("valkey", "beat", "log"):
        shutil.rmtree(var.path / folder, ignore_errors=True)
    for file in (*var.path.glob("*.secret"), *var.path.glob("*.port"), var.services_file):
        file.unlink(missing_ok=True)
    var.make()


def manage_argv(*arguments: str) -> list[str]:
    """The argument list of a ``manage.py`` command that dies with the supervisor."""
    return _launched([sys.executable, str(state.ROOT / "manage.py"), *arguments])


def _launched(program: list[str]) -> list[str]:
    return launch.launch_argv(program, death_signal=signal.SIGTERM)


def _postgres(cluster: postgres.Cluster) -> processes.Child:
    return processes.Child(
        name="postgres",
        argv=cluster.argv,
        environment={"PATH": os.environ.get("PATH", os.defpath)},
        is_ready=cluster.is_ready,
        stop_signal=signal.SIGINT,  # a fast shutdown: it does not wait for clients to leave
    )


def _valkey(server: valkey.Server) -> processes.Child:
    return processes.Child(name="valkey", argv=server.argv, is_ready=server.is_ready)


def _migrate(site: Site) -> processes.Child:
    return processes.Child(
        name="migrate",
        argv=lambda: manage_argv("migrate", "--no-input"),
        environment={**site.environment(), "OWNER_DATABASE_URL": site.owner_database_url},
        folder=state.ROOT,
    )


def _web(site: Site) -> processes.Child:
    program = [sys.executable, "-m", "gunicorn", "--config", "python:billing_site.web_server", "billing_site.wsgi"]
    program += ["--bind", f"{ports.LOOPBACK}:{site.port}", "--no-control-socket"]
    program += ["--worker-class", "gthread", "--workers", str(WEB_WORKERS), "--threads", str(WEB_THREADS)]
    program += ["--graceful-timeout", "10", "--access-logfile", "-"]
    return _of_the_service(site, "web", program, is_ready=lambda: _answers(f"{site.base_url}/readyz"))


def _worker(site: Site) -> processes.Child:
    program = [sys.executable, "-m", "celery", "-A", "billing_site.celery", "worker"]
    program += ["--loglevel", "INFO", "--concurrency", str(TASK_PROCESSES), "--without-gossip", "--without-mingle"]
    return _of_the_service(site, "worker", program)


def _beat(site: Site) -> processes.Child:
    folder = site.var.path / "beat"
    folder.mkdir(exist_ok=True)
    # Without a pid file: one that a kill -9 left behind would keep the next beat from starting.
    program = [sys.executable, "-m", "celery", "-A", "billing_site.celery", "beat"]
    program += ["--loglevel", "INFO", "--schedule", str(folder / "schedule"), "--pidfile="]
    return _of_the_service(site, "beat", program)


def _of_the_service(
    site: Site,
    name: str,
    program: list[str],
    *,
    is_ready: processes.ReadyProbe = processes.at_once,
) -> processes.Child:
    return processes.Child(
        name=name,
        argv=lambda: _launched(program),
        environment=site.environment(),
        folder=state.ROOT,
        is_ready=is_ready,
    )


def _web_port(var: state.VarFolder, asked: int | None) -> int:
    if asked is not None:
        if not ports.is_free(asked):
            raise processes.StartFailed(f"port {asked} is taken")
        return asked
    if ports.is_free(USUAL_PORT):
        return USUAL_PORT
    return ports.remembered(var.path / "web.port")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  (our own address)
            return int(response.status) == 200
    except (urllib.error.URLError, OSError):
        return False
