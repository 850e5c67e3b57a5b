"""``manage.py demo`` (``bin/demo``): the service with two months of usage in it, until Ctrl-C."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from billing_site.demo import keeping
from billing_site.embedded import launch, ports
from billing_site.supervisor import processes, services, state, up

STORY_ATTEMPTS = 3

# So that what is done with curl is seen within seconds.
QUICK_BEAT = {"BEAT_AGGREGATE_SECONDS": "2", "BEAT_BILLING_SECONDS": "5", "BEAT_WEBHOOK_SECONDS": "1"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    built = argparse.ArgumentParser(prog="bin/demo", description="The service with two months of usage in it.")
    built.add_argument("--reset", action="store_true", help="stop a running demo and delete what it stored, then begin")
    built.add_argument("--port", type=int, help=f"port of the service (default {services.USUAL_PORT}, else a free one)")
    built.add_argument("--until-ready", action="store_true", help="stop when everything is paid, instead of staying")
    built.add_argument("--json", action="store_true", help="print what came out as one JSON line")
    return built


def main(arguments: Sequence[str]) -> int:
    """Run until stopped; the exit code."""
    options = parser().parse_args(arguments)
    var = state.var_folder()
    try:
        if options.reset:
            _reset(var)
        if var.is_running():
            return _join(var, as_json=options.json)
        _run(var, port=options.port, as_json=options.json, until_ready=options.until_ready)
    except (processes.Stopped, KeyboardInterrupt):
        processes.report("stopped")
        return 0
    except up.REFUSALS as error:
        processes.report(str(error))
        return 1
    return 0


def _run(var: state.VarFolder, *, port: int | None, as_json: bool, until_ready: bool) -> None:
    """Services and story in this process's care, until the story is told or somebody stops it."""
    var.make()
    stand_in_port = ports.remembered(var.path / "stripe.port")
    settings = {
        "STRIPE_API_BASE": f"http://{ports.LOOPBACK}:{stand_in_port}",
        **keeping.stripe_settings(var),
        **{name: value for name, value in QUICK_BEAT.items() if name not in os.environ},
    }
    processes.report("starting database, broker, web, worker and beat; logs are in " + str(var.log_folder))
    try:
        with up.running(
            var=var,
            port=port,
            settings=settings,
            on_change=lambda pids: keeping.refresh_pids(var, pids),
        ) as (supervisor, site):
            supervisor.start(_stripe(site, port=stand_in_port))
            supervisor.run(_story(site, as_json=as_json), attempts=STORY_ATTEMPTS, log=None)
            if not until_ready:
                processes.report(f"everything runs at {site.base_url}; Ctrl-C stops it")
                supervisor.watch()
    finally:
        keeping.facts_file(var).unlink(missing_ok=True)


def _join(var: state.VarFolder, *, as_json: bool) -> int:
    """Another process runs the services: tell the story beside it, which finds everything done."""
    if "stripe_api_base" not in state.read_json(var.services_file):
        processes.report(f"the services of {var.path} run without the demo's Stripe stand-in; stop them first")
        return 1
    processes.report(f"the demo of {var.path} is running; using it (--reset would begin anew)")
    return subprocess.run(_story_program(as_json=as_json), check=False, cwd=state.ROOT).returncode


def _reset(var: state.VarFolder) -> None:
    if "DATABASE_URL" in os.environ:
        raise processes.StartFailed("--reset deletes the embedded database alone; DATABASE_URL names another")
    var.stop_running()
    handle = var.lock()
    try:
        keeping.forget(var)
    finally:
        os.close(handle)
    processes.report(f"deleted what the demo had stored in {var.path}")


def _stripe(site: services.Site, *, port: int) -> processes.Child:
    keeping.folder(site.var).mkdir(exist_ok=True)
    program = [sys.executable, "-m", "tests.stand_ins.stripe", "--port", str(port)]
    program += [
        "--webhook-url",
        f"{site.base_url}/webhooks/stripe",
        "--state",
        str(keeping.folder(site.var) / "stripe"),
    ]
    program += ["--api-key", site.settings["STRIPE_API_KEY"]]
    program += ["--webhook-secret", site.settings["STRIPE_WEBHOOK_SECRET"]]
    return processes.Child(
        name="stripe",
        argv=lambda: launch.launch_argv(program, death_signal=signal.SIGTERM),
        environment={**os.environ, "PYTHONUNBUFFERED": "1"},
        folder=state.ROOT,
        is_ready=lambda: ports.accepts(port),
    )


def _story(site: services.Site, *, as_json: bool) -> processes.Child:
    program = _story_program(as_json=as_json)
    return processes.Child(
        name="story",
        argv=lambda: launch.launch_argv(program, death_signal=signal.SIGTERM),
        environment=site.environment(),
        folder=state.ROOT,
    )


def _story_program(*, as_json: bool) -> list[str]:
    program = [sys.executable, "-m", "billing_site.demo.story"]
    return [*program, "--json"] if as_json else program
