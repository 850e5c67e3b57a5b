"""The whole service as processes of its own, on a folder of its own: ``manage.py up`` and ``manage.py demo``."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from billing_site.embedded import ports
from billing_site.supervisor import state
from tests.support import services, waiting


class Service:
    """A supervisor that was started, and its children."""

    def __init__(self, process: subprocess.Popen[str], var: Path, name: str) -> None:
        self.process = process
        self.var = state.VarFolder(path=var)
        self._name = name

    def published(self) -> dict[str, object]:
        """What ``services.json`` says now."""
        return state.read_json(self.var.services_file)

    def pids(self) -> dict[str, int]:
        """Which process is who now."""
        pids = self.published().get("pids", {})
        assert isinstance(pids, dict)
        return {str(name): int(pid) for name, pid in pids.items()}

    def kill(self, name: str) -> int:
        """Kill a child as the kernel would; its pid, or 0 if it was not there."""
        pid = self.pids().get(name, 0)
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return 0
        return pid

    def wait_for_another(self, name: str, pid: int, *, seconds: float = 20) -> None:
        """Until the child has been started again."""
        waiting.until(lambda: self.pids().get(name, pid) != pid, seconds=seconds, what=f"another {name}")

    def errors(self) -> str:
        """What the supervisor told the person at the terminal."""
        return (self.var.path / f"{self._name}.stderr").read_text(encoding="utf-8")

    def output(self) -> str:
        """What it printed."""
        return (self.var.path / f"{self._name}.stdout").read_text(encoding="utf-8")


@contextmanager
def started(
    command: str,
    *options: str,
    var: Path,
    port: int | None = None,
    name: str = "first",
    **environment: str,
) -> Iterator[Service]:
    """``manage.py up`` or ``demo`` as a child; stopped, if it still runs, when the block ends."""
    var.mkdir(exist_ok=True)
    chosen = port or ports.find_free()
    program = [sys.executable, str(services.ROOT / "manage.py"), command, "--port", str(chosen), *options]
    with (var / f"{name}.stderr").open("w") as errors, (var / f"{name}.stdout").open("w") as output:
        process = subprocess.Popen(
            program,
            env=services.bare_environment(BILLING_VAR=str(var), **environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            text=True,
        )
    try:
        yield Service(process, var, name)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def left_over(var: Path) -> list[str]:
    """Command lines of living processes that name the folder, or were started with it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if command and (f"BILLING_VAR={var}".encode() in environment or str(var).encode() in command):
            found.append(command.replace(b"\0", b" ").decode())
    return found
