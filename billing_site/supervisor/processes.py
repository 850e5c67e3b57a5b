"""
A small process supervisor: starts children in order, restarts what dies, stops them in reverse order.

One thread, which polls: the children are few, and nothing here may depend on what it watches. Each child leads a
session of its own, so that Ctrl-C on the terminal reaches the supervisor alone, and what a dead child leaves behind can
be killed as a group. Each child dies with the supervisor (``embedded.launch``), however that ends.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

POLL_SECONDS = 0.05
FIRST_BACK_OFF_SECONDS = 0.2
MOST_BACK_OFF_SECONDS = 10.0
STEADY_SECONDS = 30.0  # a child that ran this long starts again at the first back-off
LOG_BYTES = 20_000_000  # a log is set aside at a start when it is longer


ReadyProbe = Callable[[], bool]


class StartFailed(Exception):
    """A child did not become ready, or a command did not succeed."""


class Stopped(Exception):
    """The supervisor was asked to stop."""


def at_once() -> bool:
    """The probe of a child that nobody waits for."""
    return True


@dataclass(frozen=True, kw_only=True)
class Child:
    """How to start a process, tell that it is ready, and stop it."""

    name: str
    argv: Callable[[], Sequence[str]]  # asked at each start; it goes through embedded.launch
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path("/")
    is_ready: ReadyProbe = at_once
    ready_seconds: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 30.0


@dataclass
class _Running:
    child: Child
    process: subprocess.Popen[bytes]
    started_at: float
    deaths: int = 0
    back_off_seconds: float = FIRST_BACK_OFF_SECONDS
    restart_at: float | None = None


class Supervisor:
    """Runs children until it is told to stop by SIGINT or SIGTERM; a second signal kills them at once."""

    def __init__(self, *, log_folder: Path, on_change: Callable[[Mapping[str, int]], None]) -> None:
        self._log_folder = log_folder
        self._on_change = on_change
        self._running: dict[str, _Running] = {}
        self._signals = 0
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, self._count_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop_all()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned

    def start(self, child: Child) -> None:
        """
        Start a child and wait until it is ready; should it die meanwhile, it is started again.

        Raises:
            StartFailed: it was not ready in time.
            Stopped: the supervisor was asked to stop.
        """
        self._running[child.name] = _Running(child, self._spawn(child), time.monotonic())
        self._changed()
        give_up_at = time.monotonic() + child.ready_seconds
        while _has_ended(self._running[child.name].process) or not child.is_ready():
            if time.monotonic() > give_up_at:
                raise StartFailed(
                    f"{child.name} is not ready after {child.ready_seconds:.0f} s; see {self.log(child.name)}"
                )
            self._tick()

    def run(self, child: Child, *, attempts: int, log: Path | None) -> None:
        """
        Run a command to its end while the children are watched; with no ``log`` it has the terminal.

        Idempotency: the command must be safe to repeat; it is, up to ``attempts`` times, until it succeeds.

        Raises:
            StartFailed: it did not succeed.
            Stopped: the supervisor was asked to stop.
        """
        for attempt in range(1, attempts + 1):
            process = self._spawn(child, to_terminal=log is None)
            self._running[child.name] = running = _Running(child, process, time.monotonic())
            try:
                while not _has_ended(process):
                    self._tick(but=child.name)
            finally:
                self._stop(running)
                del self._running[child.name]
            if process.returncode == 0:
                return
            if attempt < attempts:
                report(f"{child.name} {_ending(process.returncode)}; run again")
                self._wait(attempt)
        where = f"; see {log}" if log else ""
        raise StartFailed(f"{child.name} {_ending(process.returncode)}{where}")

    def repeat(self, work: Callable[[], None], *, until: float, passing: type[Exception]) -> None:
        """
        Do some work of our own, again while it fails with an error that passes once a child is restarted.

        Raises:
            StartFailed: ``until`` (a monotonic time) is over.
            Stopped: the supervisor was asked to stop.
        """
        while True:
            try:
                work()
            except passing as error:
                if time.monotonic() > until:
                    raise StartFailed(str(error)) from error
                self._tick()
            else:
                return

    def watch(self) -> None:
        """Restart what dies until asked to stop, which raises ``Stopped``."""
        while True:
            self._tick()

    def log(self, name: str) -> Path:
        """The file that a child's output goes to."""
        return self._log_folder / f"{name}.log"

    # --- inside ---

    def _count_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tick()

    def _tick(self, *, but: str = "") -> None:
        if self._signals:
            raise Stopped
        for running in list(self._running.values()):
            if running.child.name != but:
                self._keep_alive(running)
        time.sleep(POLL_SECONDS)

    def _keep_alive(self, running: _Running) -> None:
        now = time.monotonic()
        if running.restart_at is not None:
            if now >= running.restart_at:
                self._restart(running)
        elif _has_ended(running.process):
            _kill_group(running.process)
            if now - running.started_at > STEADY_SECONDS:
                running.back_off_seconds = FIRST_BACK_OFF_SECONDS
            running.restart_at = now + running.back_off_seconds
            running.back_off_seconds = min(running.back_off_seconds * 2, MOST_BACK_OFF_SECONDS)

    def _restart(self, running: _Running) -> None:
        died = _ending(running.process.wait())
        running.deaths += 1
        running.process = self._spawn(running.child)
        running.started_at = time.monotonic()
        running.restart_at = None
        report(f"{running.child.name} {died}; restarted ({_ordinal(running.deaths)} time)")
        self._changed()

    def _spawn(self, child: Child, *, to_terminal: bool = False) -> subprocess.Popen[bytes]:
        if to_terminal:
            return subprocess.Popen(child.argv(), env=dict(child.environment), cwd=child.folder, start_new_session=True)
        log = self.log(child.name)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            return subprocess.Popen(
                child.argv(),
                env=dict(child.environment),
                cwd=child.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _changed(self) -> None:
        self._on_change({name: running.process.pid for name, running in self._running.items()})

    def _stop_all(self) -> None:
        for running in reversed(list(self._running.values())):
            self._stop(running)
        self._running.clear()

    def _stop(self, running: _Running) -> None:
        process = running.process
        if not _has_ended(process):
            process.send_signal(running.child.stop_signal)
        give_up_at = time.monotonic() + running.child.stop_seconds
        while not _has_ended(process) and self._signals <= 1 and time.monotonic() < give_up_at:
            time.sleep(POLL_SECONDS)
        if not _has_ended(process) and self._signals <= 1:
            report(f"{running.child.name} does not stop; killed")
        _kill_group(process)
        process.wait()


def report(text: str) -> None:
    """Tell the person at the terminal."""
    print(f"supervisor: {text}", file=sys.stderr, flush=True)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; it is left unreaped, so that its number stays its own until its group is killed."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a child with whatever it started and left behind."""
    if process.returncode is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # the second where the group is all zombies of another user
        return


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    return f"died with {signal.Signals(-returncode).name}"


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
