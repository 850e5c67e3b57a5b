"""Web, worker and database are killed at random moments while the demo does its work; the totals are the same."""

import json
import random
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from billing_site.embedded import postgres
from tests.support import service_processes

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

VICTIMS = ("web", "worker", "postgres")
MOST_KILLS = 15


def undisturbed(var: Path) -> dict[str, object]:
    with service_processes.started("demo", "--until-ready", "--json", var=var) as demo:
        demo.process.wait(300)
    return outcome(demo)


def disturbed(var: Path, *, seed: int) -> tuple[dict[str, object], dict[str, int]]:
    """A run during which someone kills; what came out, and how often each died."""
    chance = random.Random(seed)  # noqa: S311  (a test can be told again)
    killed = dict.fromkeys(VICTIMS, 0)
    with service_processes.started("demo", "--until-ready", "--json", var=var) as demo:
        while demo.process.poll() is None:
            time.sleep(chance.uniform(0.5, 3.5))
            # Each in turn, so that a short run meets all of them; the moment is what chance decides.
            victim = min(VICTIMS, key=lambda name: (killed[name], name))
            killed[victim] += bool(demo.kill(victim))
            # Spread over the whole run, billing and payments too; and then it may end.
            if sum(killed.values()) >= MOST_KILLS:
                demo.process.wait(300)
    return outcome(demo), killed


def outcome(demo: service_processes.Service) -> dict[str, object]:
    postgres.remove(demo.var.path / "postgres")
    assert demo.process.returncode == 0, demo.errors()
    return dict(json.loads(demo.output().splitlines()[-1]))


def totals(result: Mapping[str, object]) -> dict[str, object]:
    """What must not depend on who died: not ids, not who got which number, not how often an event was sent."""
    invoices = result["invoices"]
    assert isinstance(invoices, list)
    unnumbered = [{name: value for name, value in row.items() if name != "number"} for row in invoices]
    numbers = sorted(row["number"] for row in invoices if row["number"])
    return {
        "invoices": unnumbered,
        "numbers": numbers,
        "payments": result["payments"],
        "trial_balance": result["trial_balance"],
        "events_sent": result["events_sent"],
    }


def test_the_totals_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path / "calm")
    found, killed = disturbed(tmp_path / "stormy", seed=20261120)
    assert all(killed.values()), f"the run was over before each had died: {killed}"
    assert totals(found) == totals(expected)
