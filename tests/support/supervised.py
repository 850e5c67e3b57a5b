"""A program under our supervisor, for its tests: ``python -m tests.support.supervised FOLDER SCENE``."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from billing_site.embedded import launch
from billing_site.supervisor import processes, state

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
# Takes some time to go, and says when it has gone.
POLITE = """
import signal, sys, time
def leave(*_):
    print("leaving", time.monotonic(), flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
time.sleep(600)
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
# Leaves a child of its own behind when it is killed.
PARENT = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""
SCENES = {
    "polite": {"first": POLITE, "second": POLITE, "third": POLITE},
    "stubborn": {"stubborn": STUBBORN},
    "parent": {"parent": PARENT},
    "sleeper": {"sleeper": SLEEPER},
    "broken": {"broken": "raise SystemExit(7)"},
}


def main(folder: Path, scene: str) -> int:
    def publish(pids: Mapping[str, int]) -> None:
        state.write_json(folder / "pids.json", pids)

    try:
        with processes.Supervisor(log_folder=folder, on_change=publish) as supervisor:
            for name, program in SCENES[scene].items():
                supervisor.start(_child(name, program, log=folder / f"{name}.log"))
            state.write_json(folder / "started.json", {"started": True})
            supervisor.watch()
    except processes.Stopped:
        return 0
    except processes.StartFailed as error:
        processes.report(str(error))
        return 1
    return 0


def _child(name: str, program: str, *, log: Path) -> processes.Child:
    return processes.Child(
        name=name,
        argv=lambda: launch.launch_argv([sys.executable, "-c", program], death_signal=signal.SIGKILL),
        is_ready=lambda: log.exists() and log.stat().st_size > 0,
        ready_seconds=2.0 if name == "broken" else 20.0,
        stop_seconds=60.0 if name == "stubborn" else 10.0,
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
