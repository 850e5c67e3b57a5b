"""
What the supervisor keeps on disk: one folder, a lock that says who runs in it, and ``services.json``.

``services.json`` tells processes beside the supervisor (``manage.py`` with no DATABASE_URL set) where the services are.
It holds secrets, so only its owner can read it, and it is there only while the services run.
"""

import fcntl
import json
import os
import secrets
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
STOP_SECONDS = 90.0


class AlreadyRunning(Exception):
    """Another supervisor runs in this folder."""


@dataclass(frozen=True, kw_only=True)
class VarFolder:
    """The folder of the state: ``var/`` beside ``manage.py``, or ``BILLING_VAR``."""

    path: Path

    @property
    def services_file(self) -> Path:
        """Where the running services are; there while they run."""
        return self.path / "services.json"

    @property
    def log_folder(self) -> Path:
        """One log file for each child."""
        return self.path / "log"

    @property
    def _lock_file(self) -> Path:
        return self.path / "supervisor.lock"

    def make(self) -> None:
        """Make the folder if there is none."""
        self.log_folder.mkdir(parents=True, exist_ok=True)

    def lock(self) -> int:
        """
        Take the folder for this process, until it ends; the handle keeps it.

        Raises:
            AlreadyRunning: another process has it.
        """
        self.make()
        handle = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        for _ in range(20):
            if _try_lock(handle, fcntl.LOCK_EX):
                return handle
            time.sleep(0.05)  # someone who looks whether we run holds it for a moment
        os.close(handle)
        raise AlreadyRunning(f"the services of {self.path} are running already")

    def is_running(self) -> bool:
        """Whether a supervisor has the folder."""
        try:
            handle = os.open(self._lock_file, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(handle, fcntl.LOCK_SH)
        finally:
            os.close(handle)

    def stop_running(self) -> None:
        """
        Ask the supervisor of this folder, if there is one, to stop, and wait until it has.

        Raises:
            AlreadyRunning: it is still there after ``STOP_SECONDS``.
        """
        give_up_at = time.monotonic() + STOP_SECONDS
        asked: int | None = None
        while self.is_running():
            pid = read_json(self.services_file).get("pid")
            # Between taking the lock and writing its pid it cannot be asked; once is enough, twice would kill.
            if isinstance(pid, int) and pid != asked:
                os.kill(pid, signal.SIGTERM)
                asked = pid
            if time.monotonic() > give_up_at:
                raise AlreadyRunning(f"the services of {self.path} (process {pid}) do not stop")
            time.sleep(0.1)

    def secret(self, name: str) -> str:
        """A random secret that is made once and kept in the folder."""
        file = self.path / f"{name}.secret"
        if not file.exists():
            write_private(file, secrets.token_urlsafe(48))
        return file.read_text(encoding="ascii")


def var_folder() -> VarFolder:
    """The folder that this process and its children use."""
    return VarFolder(path=Path(os.environ.get("BILLING_VAR") or ROOT / "var").resolve())


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
        handle.write(text)
    draft.replace(file)


def write_json(file: Path, content: Mapping[str, object]) -> None:
    """Write a JSON object that only its owner can read, whole or not at all."""
    write_private(file, json.dumps(content, indent=2) + "\n")


def read_json(file: Path) -> dict[str, object]:
    """The JSON object in a file; empty if there is no file."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
