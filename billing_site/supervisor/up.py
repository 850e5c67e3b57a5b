"""``manage.py up``: the whole service on this machine, until Ctrl-C."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from billing_site.embedded import postgres, valkey
from billing_site.supervisor import processes, services, state

REFUSALS = (state.AlreadyRunning, processes.StartFailed, postgres.PostgresError, valkey.ValkeyError)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    built = argparse.ArgumentParser(prog="manage.py up", description="The whole service on this machine, until Ctrl-C.")
    built.add_argument(
        "--port", type=int, help=f"port of the web process (default {services.USUAL_PORT}, else a free one)"
    )
    return built


def main(arguments: Sequence[str]) -> int:
    """Run until stopped; the exit code."""
    options = parser().parse_args(arguments)
    var = state.var_folder()
    try:
        with running(var=var, port=options.port, settings={}) as (supervisor, site):
            processes.report(f"the service answers at {site.base_url} (admin/, docs); Ctrl-C stops it")
            supervisor.watch()
    except (processes.Stopped, KeyboardInterrupt):
        processes.report("stopped")
        return 0
    except REFUSALS as error:
        processes.report(str(error))
        return 1
    return 0


@contextmanager
def running(
    *,
    var: state.VarFolder,
    port: int | None,
    settings: Mapping[str, str],
    on_change: Callable[[Mapping[str, int]], None] = lambda _: None,
) -> Iterator[tuple[processes.Supervisor, services.Site]]:
    """
    The service, started; it is stopped when the block ends. ``on_change`` is told the children's pids by name.

    Locks: the folder ``var``, until the block has ended.

    Raises:
        AlreadyRunning, StartFailed, PostgresError, ValkeyError: it cannot be started.
        Stopped: it was asked to stop, at any time.
    """
    lock = var.lock()
    try:
        site = services.prepare(var=var, port=port, settings=settings)

        def publish(pids: Mapping[str, int]) -> None:
            site.publish(pids)
            on_change(pids)

        supervisor = processes.Supervisor(log_folder=var.log_folder, on_change=publish)
        publish({})
        with supervisor:
            services.start(supervisor, site)
            yield supervisor, site
    finally:
        var.services_file.unlink(missing_ok=True)
        os.close(lock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
