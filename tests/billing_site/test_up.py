import json
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from billing_site.embedded import postgres
from tests.support import service_processes, services, waiting

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[service_processes.Service]:
    with service_processes.started("up", var=tmp_path_factory.mktemp("up") / "var") as service:
        waiting.until(lambda: "beat" in service.pids() or service.process.poll() is not None, seconds=90, what="beat")
        assert service.process.poll() is None, service.errors()
        yield service
        var = service.var.path
    assert not service_processes.left_over(var)
    postgres.remove(var / "postgres")


def is_ready(service: service_processes.Service) -> bool:
    try:
        with urllib.request.urlopen(f"{service.published()['base_url']}/readyz", timeout=2) as response:
            return int(response.status) == 200
    except (urllib.error.URLError, OSError):
        return False


class TestUp:
    def test_starts_everything_and_says_where(self, up: service_processes.Service) -> None:
        assert set(up.pids()) == {"postgres", "valkey", "web", "worker", "beat"}
        waiting.until(lambda: is_ready(up), seconds=40, what="readiness")
        assert up.published()["pid"] == up.process.pid
        assert stat.S_IMODE(up.var.services_file.stat().st_mode) == 0o600

    def test_listens_on_loopback_alone(self, up: service_processes.Service) -> None:
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        port = int(str(up.published()["base_url"]).rsplit(":", 1)[1])
        listening = [
            local for _, local, _, state, *_ in sockets if state == "0A" and int(local.split(":")[1], 16) == port
        ]
        assert listening == [f"0100007F:{port:04X}"]

    def test_is_found_by_commands_beside_it(self, up: service_processes.Service) -> None:
        done = subprocess.run(
            [sys.executable, "manage.py", "create_api_key", "test", "--scope", "usage:read", "--json"],
            cwd=services.ROOT,
            env=services.bare_environment(BILLING_VAR=str(up.var.path)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["api_key"].startswith("bk_test_")

    def test_keeps_the_owners_address_from_the_service(self, up: service_processes.Service) -> None:
        for name in ("web", "worker", "beat"):
            environment = Path(f"/proc/{up.pids()[name]}/environ").read_bytes()
            assert b"\0DATABASE_URL=postgresql://billing_service@" in b"\0" + environment
            assert b"OWNER_DATABASE_URL" not in environment

    @pytest.mark.parametrize("name", ["postgres", "valkey", "web", "worker", "beat"])
    def test_starts_a_killed_child_again(self, up: service_processes.Service, name: str) -> None:
        pid = up.kill(name)
        assert pid
        up.wait_for_another(name, pid)
        waiting.until(lambda: is_ready(up), seconds=40, what="readiness")
        assert f"{name} died with SIGKILL; restarted (1st time)" in up.errors()

    def test_refuses_a_second_supervisor_of_the_same_folder(self, up: service_processes.Service) -> None:
        done = subprocess.run(
            [sys.executable, "manage.py", "up"],
            cwd=services.ROOT,
            env=services.bare_environment(BILLING_VAR=str(up.var.path)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "running already" in done.stderr
        waiting.until(lambda: is_ready(up), seconds=40, what="readiness of the first")


class TestStop:
    def test_leaves_no_process_and_no_address_after_one_ctrl_c(self, tmp_path: Path) -> None:
        var = tmp_path / "var"
        with service_processes.started("up", var=var) as service:
            waiting.until(lambda: "beat" in service.pids(), seconds=90, what="beat")
            service.process.send_signal(signal.SIGINT)
            assert service.process.wait(60) == 0
        assert not service_processes.left_over(var)
        assert not service.var.services_file.exists()
        postgres.remove(var / "postgres")

    def test_leaves_no_process_after_a_kill_9(self, tmp_path: Path) -> None:
        var = tmp_path / "var"
        with service_processes.started("up", var=var) as service:
            waiting.until(lambda: "web" in service.pids(), seconds=90, what="web")
            service.process.kill()
            service.process.wait()
            waiting.until(lambda: not service_processes.left_over(var), seconds=40, what="the end of all children")
        # What was left is taken up again.
        with service_processes.started("up", var=var) as service:
            waiting.until(lambda: "beat" in service.pids(), seconds=90, what="beat")
        postgres.remove(var / "postgres")


class TestRefusal:
    def test_touches_no_database_that_holds_anything_else(
        self, tmp_path: Path, superuser_cursor: psycopg.Cursor
    ) -> None:
        running = services.current()
        name = f"shop_{running.worker}"
        url = running.cluster.url(role=postgres.SUPERUSER, database="postgres")
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}")
        shop = running.cluster.url(role=postgres.SUPERUSER, database=name)
        with psycopg.connect(shop, autocommit=True) as connection:
            connection.execute("CREATE TABLE orders (id int)")
            with service_processes.started("up", var=tmp_path / "var", DATABASE_URL=shop) as service:
                assert service.process.wait(60) == 1
            assert "holds something else (orders)" in service.errors()
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert tables == [("orders",)]
        running.drop_database(name)

    def test_names_a_port_that_is_taken(self, tmp_path: Path) -> None:
        port = services.current().cluster.port
        with service_processes.started("up", var=tmp_path / "var", port=port) as service:
            assert service.process.wait(60) == 1
        assert f"port {port} is taken" in service.errors()
        postgres.remove(tmp_path / "var" / "postgres")
