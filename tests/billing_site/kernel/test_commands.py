"""Operators' commands: time as an option, one JSON line, an exit code that calls a person."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from billing_site.kernel import commands, errors, keys, models


@dataclass(frozen=True)
class Report:
    done: int
    at: datetime
    needs_person: bool


class Sweep(commands.OperatorCommand):
    needs_person = False

    def run(self, *, as_of: datetime, **options: Any) -> Report:
        if as_of.year < 2000:
            raise errors.Invalid("nothing was billed then")
        return Report(3, as_of, self.needs_person)


def sweep(*arguments: str, needs_person: bool = False) -> str:
    command, out = Sweep(), StringIO()
    command.needs_person = needs_person
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


class TestOperatorCommand:
    def test_passes_the_moment_and_prints_one_json_line(self) -> None:
        printed = sweep("--as-of", "2023-12-01T01:00:00+01:00", "--json")
        moment = "2023-12-01T00:00:00Z"
        assert json.loads(printed) == {"as_of": moment, "done": 3, "at": moment, "needs_person": False}
        assert printed.count("\n") == 1

    def test_takes_the_clock_by_default_and_prints_for_people(self) -> None:
        assert f"as of: {datetime.now(UTC).year}" in sweep()
        assert "done: 3" in sweep()

    def test_exits_with_1_when_it_needs_a_person(self) -> None:
        with pytest.raises(SystemExit) as ended:
            sweep("--json", needs_person=True)
        assert ended.value.code == 1

    def test_tells_a_refusal_and_a_time_that_is_none(self) -> None:
        with pytest.raises(CommandError, match="invalid_request: nothing was billed then"):
            sweep("--as-of", "1999-01-01T00:00:00Z")
        with pytest.raises(CommandError, match=r"--as-of.*RFC 3339"):
            sweep("--as-of", "yesterday")

    def test_tells_a_shell_of_a_time_that_is_none_without_a_traceback(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            Sweep().run_from_argv(["manage.py", "sweep", "--as-of", "yesterday"])
        assert ended.value.code == 2
        assert "argument --as-of: 'yesterday' is not an RFC 3339 time" in capsys.readouterr().err


@pytest.mark.django_db
class TestCreateApiKey:
    def test_shows_the_secret_once_and_binds_it(self) -> None:
        out = StringIO()
        options = ("--scope", "events:write", "--scope", "usage:read", "--tenant", "acme-corp", "--json")
        call_command("create_api_key", "gateway", *options, stdout=out)
        made = json.loads(out.getvalue())
        key = keys.find_api_key(made["api_key"])
        assert key is not None
        assert (key.pk, key.name, key.tenant_id) == (made["id"], "gateway", "acme-corp")
        assert key.scopes == ["events:write", "usage:read"]

    def test_refuses_scopes_and_tenants_that_are_none(self) -> None:
        with pytest.raises(CommandError, match="invalid_scopes"):
            call_command("create_api_key", "x", "--scope", "everything")
        with pytest.raises(CommandError, match="invalid_tenant_id"):
            call_command("create_api_key", "x", "--scope", "admin", "--tenant", "a b")
        assert not models.ApiKey.objects.exists()
