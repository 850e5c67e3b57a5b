"""A variable that is missing or malformed stops the process at start, with its name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from billing_site import settings

GOOD = {
    "SECRET_KEY": "x" * 50,
    "DATABASE_URL": "postgresql://service@127.0.0.1/billing",
    "OWNER_DATABASE_URL": "postgresql://owner@127.0.0.1/billing",
    "REDIS_URL": "redis://127.0.0.1/0",
}


def start(tmp_path: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "BILLING_VAR": str(tmp_path), **GOOD, **changes}
    return subprocess.run(
        [sys.executable, "-c", "import billing_site.settings as s; print(s.DATABASES['default']['USER'])"],
        env={name: value for name, value in environment.items() if value},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )


class TestStart:
    def test_succeeds_with_what_is_required(self, tmp_path: Path) -> None:
        assert start(tmp_path).stdout == "service\n"

    @pytest.mark.parametrize("variable", ["SECRET_KEY", "DATABASE_URL", "REDIS_URL"])
    def test_names_what_is_missing(self, tmp_path: Path, variable: str) -> None:
        ended = start(tmp_path, **{variable: ""})
        assert ended.returncode != 0
        assert f"ImproperlyConfigured: {variable} is not set" in ended.stderr

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("DATABASE_URL", "sqlite:///x"),
            ("OWNER_DATABASE_URL", "mysql://a@b/c"),
            ("ENVIRONMENT", "staging"),
            ("LOG_FORMAT", "xml"),
            ("ARCHIVE_URL", "archive/here"),
            ("ARCHIVE_URL", "ftp://archive"),
            ("BEAT_AGGREGATE_SECONDS", "often"),
            ("BEAT_WEBHOOK_SECONDS", "0"),
            ("DATABASE_CONN_MAX_AGE", "-1"),
            ("DEBUG", "perhaps"),
        ],
    )
    def test_names_what_is_malformed(self, tmp_path: Path, variable: str, value: str) -> None:
        ended = start(tmp_path, **{variable: value})
        assert ended.returncode != 0
        assert variable in ended.stderr

    def test_tells_nothing_of_a_password(self, tmp_path: Path) -> None:
        ended = start(tmp_path, DATABASE_URL="postgresql://service:s3cr/et@127.0.0.1/billing")
        assert ended.returncode != 0
        assert "DATABASE_URL" in ended.stderr
        assert "s3cr" not in ended.stderr

    def test_finds_running_embedded_services_by_itself(self, tmp_path: Path) -> None:
        (tmp_path / "services.json").write_text(
            '{"database_url": "postgresql://found@127.0.0.1/billing", "redis_url": "redis://127.0.0.1/0"}',
        )
        assert start(tmp_path, DATABASE_URL="", OWNER_DATABASE_URL="", REDIS_URL="").stdout == "found\n"

    def test_documents_every_variable_it_reads(self) -> None:
        text = Path(settings.__file__).read_text(encoding="utf-8")
        readers = r"env\.\w+|_service_url|_choice|_database|_flag|_seconds|_rate_limits"
        read = set(re.findall(rf'(?:{readers})\(\s*"([A-Z_]+)"', text))
        documented = set(re.findall(r"^``([A-Z_]+)``", text, re.MULTILINE))
        assert read
        assert read == documented
