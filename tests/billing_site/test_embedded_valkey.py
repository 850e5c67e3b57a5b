from pathlib import Path

import pytest
import redis

from billing_site.embedded import valkey


class TestStart:
    def test_keeps_what_was_written_through_kill_9(self, tmp_path: Path) -> None:
        server = valkey.prepare(folder=tmp_path / "valkey")
        process = valkey.start(server, log=tmp_path / "log")
        try:
            with redis.Redis.from_url(server.url()) as client:
                client.set("kept", "42")
            # appendfsync is everysec: what the server handed to the kernel survives its own death at once.
            process.kill()
            process.wait()
            again = valkey.prepare(folder=tmp_path / "valkey")
            assert again.port == server.port
            process = valkey.start(again, log=tmp_path / "log")
            with redis.Redis.from_url(again.url()) as client:
                assert client.get("kept") == b"42"
        finally:
            valkey.stop(process)

    def test_evicts_nothing_and_listens_on_loopback_alone(self, tmp_path: Path) -> None:
        server = valkey.prepare(folder=tmp_path / "valkey")
        process = valkey.start(server, log=tmp_path / "log")
        try:
            with redis.Redis.from_url(server.url()) as client:
                assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
                assert client.config_get("bind") == {"bind": "127.0.0.1"}
        finally:
            valkey.stop(process)

    def test_says_where_to_look_when_it_does_not_start(self, tmp_path: Path) -> None:
        server = valkey.Server(binary=Path("/bin/false"), folder=tmp_path, port=1)
        with pytest.raises(valkey.ValkeyError, match=r"see .*log"):
            valkey.start(server, log=tmp_path / "log")
