"""Beat and a worker, as real processes: every entry of the schedule is registered and runs."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from celery.beat import PersistentScheduler

from billing_site import schedule, settings
from billing_site.celery import app

pytestmark = pytest.mark.processes
DEADLINE_SECONDS = 90


@contextmanager
def celery(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "LOG_LEVEL": "INFO", "LOG_FORMAT": "json"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "billing_site", *arguments],
            cwd=settings.BASE_DIR,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def missed_for_two_days(path: Path) -> None:
    """Beat's own memory, as it is when beat was down for two days."""
    app.finalize()
    scheduler = PersistentScheduler(app, schedule_filename=str(path))
    assert set(schedule.entries()) <= set(scheduler.schedule)
    for entry in scheduler.schedule.values():
        entry.last_run_at = app.now() - timedelta(days=2)
    scheduler.close()


class TestEntries:
    def test_are_each_registered_and_run_also_after_two_days_of_silence(
        self,
        committed_db: str,
        tmp_path: Path,
    ) -> None:
        expected = {str(entry["task"]) for entry in schedule.entries().values()}
        missed_for_two_days(tmp_path / "beat")
        log = tmp_path / "worker.log"
        succeeded: set[str] = set()
        with (
            celery(log, "worker", "--concurrency", "1", "--pool", "solo", "--loglevel", "INFO"),
            celery(tmp_path / "beat.log", "beat", "--schedule", str(tmp_path / "beat"), "--pidfile", ""),
        ):
            until = time.monotonic() + DEADLINE_SECONDS
            while not expected <= succeeded and time.monotonic() < until:
                time.sleep(0.5)
                succeeded = set(re.findall(r"Task ([a-z_.]+)\[[0-9a-f-]+\] succeeded", log.read_text()))
        text = log.read_text()
        assert expected <= succeeded, text[-4000:]
        assert "unregistered task" not in text
        assert "Traceback" not in text
