"""Bodies without a length, through a real gunicorn."""

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from billing_site import settings
from billing_site.kernel import keys
from tests.support import waiting

pytestmark = pytest.mark.processes


@pytest.fixture
def port(committed_db: str, tmp_path: Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free: int = listener.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "billing_site.wsgi", "-b", f"127.0.0.1:{free}", "--no-control-socket"]
    with (tmp_path / "web.log").open("wb") as log:
        web = subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            env={**os.environ, "HTTPS": "false"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            waiting.until(lambda: listens(free), seconds=30, what="the web process")
            yield free
        finally:
            web.terminate()
            web.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def post(port: int, chunks: list[bytes]) -> tuple[int, dict[str, object]]:
    _, secret = keys.create_api_key(name="stream", scopes=["admin"], now=datetime(2026, 11, 1, tzinfo=UTC))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    connection.request("POST", "/v1/events", body=iter(chunks), headers=headers, encode_chunked=True)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    return answer.status, told


class TestWithLength:
    def test_takes_a_body_that_comes_in_chunks_and_refuses_one_without_end(self, port: int) -> None:
        event = b'{"tenant_id": "acme", "event_type": "api_call", "idempotency_key": "k"}'
        assert post(port, [event[:20], event[20:]]) == (
            200,
            {"accepted": 1, "duplicates": 0, "rejected": 0, "errors": []},
        )
        status, told = post(port, [b" " * 1024 * 1024] * 9)
        assert (status, told["code"]) == (413, "body_too_large")
