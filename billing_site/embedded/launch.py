"""
Start a program that is signalled when its parent dies, as another user if asked.

This file is run as a script by the parent's interpreter and then becomes the program. It is a program of its own, not
a ``preexec_fn``, because code between fork and exec is not safe in a parent that has threads.
"""

import argparse
import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1


def launch_argv(program: Sequence[str], *, death_signal: signal.Signals, user: str | None = None) -> list[str]:
    """
    The argument list that starts ``program`` through this script.

    ``user`` needs a parent that is root. The parent must start the child from a thread that lives as long as itself:
    the kernel watches the thread.
    """
    as_user = [] if user is None else ["--user", user]
    own = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    return [*own, "--parent", str(os.getpid()), "--signal", str(int(death_signal)), *as_user, "--", *program]


def main() -> None:
    """Drop to the user, tie the life to the parent's, become the program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--user")
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    if options.user:
        _become(options.user)
    _die_with(options.parent, options.signal)
    os.execvp(options.program[0], options.program)  # noqa: S606  (no shell is the point)


def _become(name: str) -> None:
    user = pwd.getpwnam(name)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ["HOME"] = "/nonexistent"
    os.environ["USER"] = os.environ["LOGNAME"] = name


def _die_with(parent: int, death_signal: int) -> None:
    if sys.platform != "linux":
        return
    # After setuid, which clears it.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the kernel was told to watch it.
    if os.getppid() != parent:
        raise SystemExit("launch: the parent is gone already")


if __name__ == "__main__":
    main()
