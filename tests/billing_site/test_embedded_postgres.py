import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from billing_site.embedded import postgres


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cluster")
    yield folder
    postgres.remove(folder / "cluster")


@pytest.fixture(scope="module")
def log(folder: Path) -> Path:
    return folder / "postgres.log"


@pytest.fixture(scope="module")
def running(folder: Path, log: Path) -> Iterator[postgres.Cluster]:
    cluster = postgres.prepare(folder=folder / "cluster", bin_folder=postgres.embedded_binaries())
    process = postgres.start(cluster, log=log)
    postgres.provision(cluster, database="billing")
    yield cluster
    postgres.stop(process)


def service(cluster: postgres.Cluster) -> psycopg.Connection:
    return psycopg.connect(cluster.url(role=postgres.SERVICE_ROLE, database="billing"), autocommit=True)


class TestProvision:
    def test_makes_an_owner_that_can_create_tables(self, running: postgres.Cluster) -> None:
        with psycopg.connect(running.url(role=postgres.OWNER_ROLE, database="billing")) as connection:
            connection.execute("CREATE TABLE thing (id int)")
            connection.rollback()

    @pytest.mark.parametrize(
        "statement",
        ["CREATE TABLE thing (id int)", "CREATE TEMP TABLE thing (id int)", "CREATE SCHEMA mine", "CREATE ROLE other"],
    )
    def test_leaves_the_service_nothing_to_create(self, running: postgres.Cluster, statement: str) -> None:
        with service(running) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement)

    def test_can_be_repeated(self, running: postgres.Cluster) -> None:
        postgres.provision(running, database="billing")
        with service(running) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("billing_service",)

    def test_refuses_a_database_that_holds_anything_else(self, running: postgres.Cluster) -> None:
        with psycopg.connect(running.url(role=postgres.SUPERUSER, database="postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE shop")
        with psycopg.connect(running.url(role=postgres.SUPERUSER, database="shop")) as connection:
            connection.execute("CREATE TABLE orders (id int)")
        with pytest.raises(postgres.PostgresError, match="holds something else"):
            postgres.provision(running, database="shop")

    def test_speaks_unicode_by_code_point(self, running: postgres.Cluster) -> None:
        with service(running) as connection:
            row = connection.execute("SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database").fetchone()
        assert row == ("UTF8", "C.UTF-8")

    def test_listens_on_loopback_alone(self, running: postgres.Cluster) -> None:
        with service(running) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)


class TestStart:
    def test_starts_again_on_the_same_port_and_data_after_kill_9(self, tmp_path: Path) -> None:
        folder = tmp_path / "cluster"
        cluster = postgres.prepare(folder=folder, bin_folder=postgres.embedded_binaries())
        process = postgres.start(cluster, log=tmp_path / "log")
        try:
            with psycopg.connect(cluster.url(role=postgres.SUPERUSER, database="postgres")) as connection:
                connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
            process.kill()
            process.wait()
            again = postgres.prepare(folder=folder, bin_folder=cluster.bin_folder)
            assert again.port == cluster.port
            process = postgres.start(again, log=tmp_path / "log")
            with psycopg.connect(again.url(role=postgres.SUPERUSER, database="postgres")) as connection:
                assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        finally:
            postgres.stop(process)
            postgres.remove(folder)
        assert not folder.exists()

    def test_takes_another_port_when_its_own_was_taken(self, tmp_path: Path) -> None:
        folder = tmp_path / "cluster"
        first = postgres.prepare(folder=folder, bin_folder=postgres.embedded_binaries())
        with subprocess.Popen(
            ["python3", "-m", "http.server", str(first.port), "--bind", "127.0.0.1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PYTHONUNBUFFERED": "1", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        ) as squatter:
            assert squatter.stdout is not None
            squatter.stdout.readline()
            try:
                second = postgres.prepare(folder=folder, bin_folder=first.bin_folder)
            finally:
                squatter.send_signal(signal.SIGKILL)
        postgres.remove(folder)
        assert second.port != first.port


class TestPrepare:
    def test_makes_a_half_made_cluster_anew(self, tmp_path: Path) -> None:
        folder = tmp_path / "cluster"
        cluster = postgres.prepare(folder=folder, bin_folder=postgres.embedded_binaries())
        (folder / "version").unlink()
        (cluster.data_folder / "PG_VERSION").unlink()
        cluster = postgres.prepare(folder=folder, bin_folder=cluster.bin_folder)
        assert (cluster.data_folder / "PG_VERSION").exists()
        postgres.remove(folder)

    def test_refuses_data_of_another_version(self, tmp_path: Path) -> None:
        folder = tmp_path / "cluster"
        folder.mkdir()
        (folder / "version").write_text("9\n")
        with pytest.raises(postgres.PostgresError, match="made by PostgreSQL 9"):
            postgres.prepare(folder=folder, bin_folder=postgres.embedded_binaries())

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the cluster to another user")
    def test_follows_no_link_to_where_the_cluster_would_be_put(self, tmp_path: Path) -> None:
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        folder = private / "cluster"
        link = postgres._elsewhere(folder)
        link.symlink_to(private)
        try:
            with pytest.raises(postgres.PostgresError, match="belongs to someone else"):
                postgres.prepare(folder=folder, bin_folder=postgres.embedded_binaries())
        finally:
            link.unlink()
        assert private.stat().st_mode & 0o777 == 0o700


class TestRefuseForeign:
    @pytest.fixture
    def url(self, running: postgres.Cluster) -> str:
        with psycopg.connect(running.url(role=postgres.SUPERUSER, database="postgres"), autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS other")
            connection.execute("CREATE DATABASE other")
        return running.url(role=postgres.SUPERUSER, database="other")

    def fill(self, url: str, *apps: str, tables: tuple[str, ...] = ()) -> None:
        with psycopg.connect(url) as connection:
            for table in ("auth_user", "django_migrations", *tables):
                connection.execute(f"CREATE TABLE {table} (app text)")
            for app in apps:
                connection.execute("INSERT INTO django_migrations VALUES (%s)", [app])

    def test_lets_an_empty_database_pass(self, url: str) -> None:
        postgres.refuse_foreign(url)

    def test_lets_our_own_pass(self, url: str) -> None:
        self.fill(url, "auth", "ledger", tables=("ledger_entry", "metering_event_2026_11"))
        postgres.refuse_foreign(url)

    def test_lets_one_pass_whose_first_migration_was_cut_short(self, url: str) -> None:
        self.fill(url)
        postgres.refuse_foreign(url)

    def test_refuses_another_django_project(self, url: str) -> None:
        self.fill(url, "auth", "contenttypes")
        with pytest.raises(postgres.PostgresError, match="something else"):
            postgres.refuse_foreign(url)

    def test_refuses_a_stranger_beside_our_tables(self, url: str) -> None:
        self.fill(url, "auth", "ledger", tables=("ledger_entry", "orders"))
        with pytest.raises(postgres.PostgresError, match=r"something else \(orders\)"):
            postgres.refuse_foreign(url)
