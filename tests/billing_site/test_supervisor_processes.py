import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from billing_site.supervisor import state
from tests.support import services, waiting

pytestmark = pytest.mark.processes

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a scene under the supervisor; whatever is left of it is killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(scene: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.supervised", str(tmp_path), scene],
            cwd=services.ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        if scene != "broken":
            waiting.until((tmp_path / "started.json").exists, seconds=20, what="the children")
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def pids(folder: Path) -> dict[str, int]:
    return {name: int(str(pid)) for name, pid in state.read_json(folder / "pids.json").items()}


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


class TestRestart:
    def test_starts_a_killed_child_again_and_says_so(self, start: Start, tmp_path: Path) -> None:
        supervisor = start("sleeper")
        first = pids(tmp_path)["sleeper"]
        os.kill(first, signal.SIGKILL)
        second = waiting.until(
            lambda: pids(tmp_path)["sleeper"] if pids(tmp_path)["sleeper"] != first else None,
            seconds=5,
            what="another child",
        )
        assert second
        os.kill(second, signal.SIGKILL)
        waiting.until(lambda: pids(tmp_path)["sleeper"] != second, seconds=5, what="a third child")
        supervisor.send_signal(signal.SIGINT)
        _, errors = supervisor.communicate(timeout=20)
        assert "sleeper died with SIGKILL; restarted (1st time)" in errors
        assert "sleeper died with SIGKILL; restarted (2nd time)" in errors

    def test_leaves_no_zombie(self, start: Start, tmp_path: Path) -> None:
        supervisor = start("sleeper")
        first = pids(tmp_path)["sleeper"]
        os.kill(first, signal.SIGKILL)
        waiting.until(lambda: pids(tmp_path)["sleeper"] != first, seconds=5, what="another child")
        children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text(encoding="ascii").split()
        assert children == [str(pids(tmp_path)["sleeper"])]

    def test_kills_what_a_dead_child_left_behind(self, start: Start, tmp_path: Path) -> None:
        start("parent")
        grandchild = int((tmp_path / "parent.log").read_text().split()[0])
        assert is_alive(grandchild)
        os.kill(pids(tmp_path)["parent"], signal.SIGKILL)
        waiting.until(lambda: not is_alive(grandchild), seconds=5, what="the grandchild's death")

    def test_gives_up_on_a_child_that_never_starts(self, start: Start) -> None:
        supervisor = start("broken")
        _, errors = supervisor.communicate(timeout=20)
        assert supervisor.returncode == 1
        assert "broken ended with exit code 7; restarted (1st time)" in errors
        assert "broken is not ready after 2 s" in errors


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_stops_all_in_reverse_order(self, start: Start, tmp_path: Path, number: signal.Signals) -> None:
        supervisor = start("polite")
        before = pids(tmp_path)
        supervisor.send_signal(number)
        supervisor.communicate(timeout=20)
        assert supervisor.returncode == 0
        assert not [name for name, pid in before.items() if is_alive(pid)]
        left_at = {name: float((tmp_path / f"{name}.log").read_text().split()[-1]) for name in before}
        assert left_at["third"] < left_at["second"] < left_at["first"]

    def test_kills_at_once_on_a_second_signal(self, start: Start, tmp_path: Path) -> None:
        supervisor = start("stubborn")
        child = pids(tmp_path)["stubborn"]
        supervisor.send_signal(signal.SIGINT)
        time.sleep(1)
        assert supervisor.poll() is None
        supervisor.send_signal(signal.SIGINT)
        supervisor.communicate(timeout=5)
        assert not is_alive(child)

    def test_takes_its_children_along_when_it_is_killed(self, start: Start, tmp_path: Path) -> None:
        supervisor = start("polite")
        before = pids(tmp_path)
        supervisor.kill()
        supervisor.wait()
        waiting.until(
            lambda: not [name for name, pid in before.items() if is_alive(pid)],
            seconds=5,
            what="the children's deaths",
        )
