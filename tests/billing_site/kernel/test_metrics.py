"""``/metrics``: who may read it, what it shows, that one bad gauge spoils nothing, and that processes are added up."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import prometheus_client
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from billing_site import settings as service_settings
from billing_site.embedded import ports
from billing_site.kernel import keys, metrics
from tests.factories import kernel as factories
from tests.support import waiting


@pytest.fixture
def registered() -> Iterator[Any]:
    before = dict(metrics._gauges)
    metrics._gauges.clear()
    yield metrics.register_gauge
    metrics._gauges.clear()
    metrics._gauges.update(before)


def scrape(by: APIClient | None = None) -> str:
    response = (by or factories.client()).get("/metrics")
    assert response.status_code == 200
    assert response["Content-Type"] == prometheus_client.CONTENT_TYPE_LATEST
    return str(response.content.decode())


@pytest.mark.django_db
class TestAccess:
    def test_is_refused_without_a_key_and_without_the_scope(self) -> None:
        assert APIClient().get("/metrics").status_code == 401
        assert factories.client("usage:read").get("/metrics").status_code == 403

    def test_takes_the_token_without_asking_the_database(self, settings: Settings, registered: Any) -> None:
        settings.METRICS_TOKEN = "open sesame"
        by = APIClient()
        by.credentials(HTTP_AUTHORIZATION="Bearer open sesame")
        with CaptureQueriesContext(connection) as asked:
            scrape(by)
        assert len(asked) == 0
        by.credentials(HTTP_AUTHORIZATION="Bearer open sesam\xe9")
        assert by.get("/metrics").status_code == 401

    def test_is_closed_to_an_empty_token(self, settings: Settings) -> None:
        settings.METRICS_TOKEN = ""
        by = APIClient()
        by.credentials(HTTP_AUTHORIZATION="Bearer ")
        assert by.get("/metrics").status_code == 401

    def test_takes_no_post(self) -> None:
        assert factories.client().post("/metrics").status_code == 405


@pytest.mark.django_db
class TestGauges:
    def test_are_read_anew_for_each_scrape(self, registered: Any) -> None:
        figures = iter([3, 4])
        registered("billing_things", "Things.", lambda: next(figures))
        assert "\nbilling_things 3.0\n" in scrape()
        assert "\nbilling_things 4.0\n" in scrape()

    def test_have_a_figure_for_each_value_of_their_label(self, registered: Any) -> None:
        registered("billing_things", "Things.", lambda: {"red": 1, "blue": 2}, label="colour")
        text = scrape()
        assert 'billing_things{colour="red"} 1.0' in text
        assert 'billing_things{colour="blue"} 2.0' in text

    def test_are_left_out_and_counted_when_they_cannot_be_read(self, registered: Any) -> None:
        def broken() -> float:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
            return 1

        registered("billing_broken", "Broken.", broken)
        registered("billing_sound", "Sound.", lambda: 1)
        text = scrape()
        assert "billing_broken" not in text
        assert "\nbilling_sound 1.0\n" in text
        assert 'billing_unreadable_gauges_total{gauge="billing_broken"} 1.0' in scrape()

    def test_may_not_hold_up_a_scrape(self, registered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def slow() -> float:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(30)")
            return 1

        monkeypatch.setattr(metrics, "_GAUGE_TIMEOUT_MILLISECONDS", 50)
        registered("billing_slow", "Slow.", slow)
        assert "billing_slow" not in scrape()


COUNT = """
import sys, django
django.setup()
from billing_site.kernel import copies
copies.stale_served.labels("test").inc(int(sys.argv[1]))
"""
SHOW = """
import django
django.setup()
import prometheus_client
from billing_site.kernel import copies, metrics
print(prometheus_client.generate_latest(metrics._counters()).decode())
"""


def test_counters_of_several_processes_are_added_up(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "billing_site.settings",
    }

    def run(program: str, *arguments: str) -> str:
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.check_output(command, env=environment, text=True, cwd=service_settings.BASE_DIR)

    run(COUNT, "3")
    run(COUNT, "4")
    assert 'billing_stale_served_total{cache="test"} 7.0' in run(SHOW)


@pytest.mark.processes
def test_any_worker_of_gunicorn_tells_the_counters_of_all(committed_db: str) -> None:
    port = ports.find_free()
    program = [sys.executable, "-m", "gunicorn", "--config", "python:billing_site.web_server", "billing_site.wsgi"]
    program += ["--bind", f"127.0.0.1:{port}", "--workers", "3", "--no-control-socket"]
    address = f"http://127.0.0.1:{port}"
    _, secret = keys.create_api_key(name="k", scopes=["admin"], now=datetime(2026, 11, 1, tzinfo=UTC))
    headers = {"Authorization": f"Bearer {secret}"}
    event = {"tenant_id": "acme", "event_type": "api_call"}
    web = subprocess.Popen(program, cwd=service_settings.BASE_DIR, stderr=subprocess.DEVNULL)
    try:
        waiting.until(lambda: _answers(f"{address}/healthz"), seconds=60, what="gunicorn")
        for n in range(30):
            sent = httpx.post(f"{address}/v1/events", json={**event, "idempotency_key": f"k{n % 20}"}, headers=headers)
            assert sent.status_code == 200
        for _ in range(6):
            text = httpx.get(f"{address}/metrics", headers=headers).text
            assert "billing_events_accepted_total 20.0" in text
            assert "billing_events_duplicate_total 10.0" in text
    finally:
        web.terminate()
        web.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
