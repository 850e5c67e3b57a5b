"""Where the archive lies: a folder, or a bucket that speaks S3's protocol."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.conf import LazySettings

from metering import errors
from metering.lake import store


class Bucket(BaseHTTPRequestHandler):
    """As much of S3 as putting, asking for and getting an object needs; requests must be signed."""

    objects: dict[str, bytes]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "Credential=archivist/" not in self.headers.get("Authorization", ""):
            self._answer(403)
            return
        self.objects[self.path] = body
        self._answer(200)

    def do_GET(self) -> None:
        self._answer(200 if self.path in self.objects else 404, self.objects.get(self.path, b""))

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Fri, 20 Nov 2026 12:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def bucket(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """The archive in a bucket; its objects by path."""
    Bucket.objects = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "archivist")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    settings.ARCHIVE_URL = "s3://events-archive/billing"
    yield Bucket.objects
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(settings: LazySettings, tmp_path: Path) -> Path:
    """The archive in a folder whose name has to be escaped in a URL."""
    settings.ARCHIVE_URL = (tmp_path / "my archive, ü").as_uri()
    return tmp_path / "my archive, ü"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Something to keep."""
    path = tmp_path / "day.parquet"
    path.write_bytes(b"events" * 1000)
    return path


def keep_and_fetch(file: Path) -> store.StoredObject:
    kept = store.put(folder="events/month=2025-03", file=file)
    assert kept == store.put(folder="events/month=2025-03", file=file)
    assert kept.path == f"events/month=2025-03/{kept.sha256}.parquet"
    assert store.size_of(kept.path) == kept.size_bytes == 6000
    with store.fetched(path=kept.path, sha256=kept.sha256) as fetched:
        assert fetched.read_bytes() == file.read_bytes()
    return kept


class TestFolder:
    def test_keeps_an_object_and_gives_it_back(self, folder: Path, file: Path) -> None:
        kept = keep_and_fetch(file)
        assert (folder / kept.path).read_bytes() == file.read_bytes()

    def test_tells_what_is_not_there(self, folder: Path) -> None:
        with pytest.raises(errors.ArchiveUnreachable, match="events/nothing"):
            store.size_of("events/nothing")

    def test_tells_what_was_changed(self, folder: Path, file: Path) -> None:
        kept = keep_and_fetch(file)
        (folder / kept.path).write_bytes(b"other")
        with pytest.raises(errors.ArchiveDamaged), store.fetched(path=kept.path, sha256=kept.sha256):
            pass


class TestBucket:
    def test_keeps_an_object_and_gives_it_back(self, bucket: dict[str, bytes], file: Path) -> None:
        kept = keep_and_fetch(file)
        assert [path.replace("%3D", "=") for path in bucket] == [f"/events-archive/billing/{kept.path}"]

    def test_tells_what_is_not_there(self, bucket: dict[str, bytes]) -> None:
        with pytest.raises(errors.ArchiveUnreachable, match="events/nothing"):
            store.size_of("events/nothing")

    def test_tells_what_was_changed(self, bucket: dict[str, bytes], file: Path) -> None:
        kept = keep_and_fetch(file)
        for path in bucket:
            bucket[path] = b"x" * 6000
        with pytest.raises(errors.ArchiveDamaged), store.fetched(path=kept.path, sha256=kept.sha256):
            pass

    def test_tells_that_it_is_refused(
        self, bucket: dict[str, bytes], file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
        with pytest.raises(errors.ArchiveUnreachable):
            store.put(folder="events", file=file)
        assert bucket == {}
