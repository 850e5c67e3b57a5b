"""Log lines: one a line, with the request's id, and nothing that is secret."""

import json
import logging
import sys

import pytest
import structlog

from billing_site.kernel import logs


def fail(count: int) -> None:
    raise RuntimeError(f"{count} characters")


def line(style_name: str) -> str:
    secret = "logs for not"[::-1]
    try:
        fail(len(secret))
    except RuntimeError:
        record = logging.LogRecord("payments", logging.ERROR, __file__, 1, "it %s", ("failed",), sys.exc_info())
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        return logs.formatter(style_name).format(record)


class TestFormatter:
    def test_writes_one_json_object_with_the_request_id(self) -> None:
        written = line("json")
        assert "\n" not in written
        told = json.loads(written)
        assert (told["event"], told["level"], told["logger"], told["request_id"]) == (
            "it failed",
            "error",
            "payments",
            "req_1",
        )
        assert told["exception"][0]["exc_value"] == "12 characters"

    @pytest.mark.parametrize("style_name", ["json", "console"])
    def test_tells_where_it_failed_and_no_variable(self, style_name: str) -> None:
        written = line(style_name)
        assert "RuntimeError" in written
        assert "test_logs.py" in written
        assert "ton rof sgol" not in written
