"""The life of months, from the operator's side."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from metering import archives, models, tasks
from tests.factories import metering as factories
from tests.metering.months import LATER, MARCH, THEN, event, fill, stored

pytestmark = pytest.mark.django_db

AS_OF = "2025-09-01T00:00:00Z"


@pytest.fixture(autouse=True)
def folder(settings: LazySettings, tmp_path: Path) -> Path:
    """The archive."""
    settings.ARCHIVE_URL = (tmp_path / "archive").as_uri()
    return tmp_path / "archive"


def run(*arguments: Any, needs_person: bool = False) -> dict[str, Any]:
    """The command's JSON line."""
    output = io.StringIO()
    if needs_person:
        with pytest.raises(SystemExit) as left:
            call_command(*arguments, "--json", stdout=output)
        assert left.value.code == 1
    else:
        call_command(*arguments, "--json", stdout=output)
    (line,) = output.getvalue().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


class TestArchiveEvents:
    def test_says_what_it_did(self) -> None:
        fill()
        report = run("archive_events", "--as-of", AS_OF)
        assert report == {
            "as_of": AS_OF,
            "archived": ["2025-03"],
            "dropped": ["2025-03"],
            "waiting": {},
            "failed": {},
            "events": 40,
            "keys_expired": 0,
            "key_days_left": 0,
            "needs_person": False,
        }

    def test_forgets_the_keys_of_long_ago(self) -> None:
        fill()
        run("archive_events", "--as-of", AS_OF)
        assert run("archive_events", "--as-of", "2026-05-01T00:00:00Z")["keys_expired"] == 40

    def test_archives_without_dropping(self) -> None:
        fill()
        report = run("archive_events", "--as-of", AS_OF, "--keep")
        assert (report["archived"], report["dropped"]) == (["2025-03"], [])
        assert len(stored()) == 40

    def test_archives_a_month_that_is_named(self) -> None:
        fill()
        report = run("archive_events", "--as-of", "2025-04-02T00:00:00Z", "--month", "2025-03", "--keep")
        assert report["archived"] == ["2025-03"]

    def test_needs_a_person_where_the_archive_fails(self, settings: LazySettings, tmp_path: Path) -> None:
        fill()
        (tmp_path / "file").write_text("no folder")
        settings.ARCHIVE_URL = (tmp_path / "file" / "archive").as_uri()
        report = run("archive_events", "--as-of", AS_OF, needs_person=True)
        assert "archive_unreachable" in report["failed"]["2025-03"]

    def test_says_that_there_is_no_archive(self, settings: LazySettings) -> None:
        settings.ARCHIVE_URL = ""
        with pytest.raises(CommandError, match="archive_not_configured"):
            call_command("archive_events")

    @pytest.mark.parametrize("month", ["2025-13", "March", "2025-3", ""])
    def test_says_what_is_no_month(self, month: str) -> None:
        with pytest.raises(CommandError, match="no month"):
            call_command("archive_events", "--month", month)

    def test_is_beats_task_too(self) -> None:
        fill()
        tasks.archive_events()
        assert models.ArchivedMonth.objects.get(month=MARCH).dropped_at is not None

    def test_is_no_work_for_beat_without_an_archive(self, settings: LazySettings) -> None:
        settings.ARCHIVE_URL = ""
        fill()
        tasks.archive_events()
        assert len(stored()) == 40


class TestReplayEvents:
    def test_brings_a_month_back_for_the_events_that_were_refused(self) -> None:
        fill()
        run("archive_events", "--as-of", AS_OF)
        late = event(event_timestamp=THEN, tenant_id="t0")
        refused = factories.ingest(late, now=LATER, allow_backfill=True)
        assert [verdict.code for verdict in refused.errors] == ["period_archived"]
        report = run("replay_events", "--month", "2025-03", "--recompute")
        assert (report["restored"], report["events"]) == (["2025-03"], 40)
        assert report["windows_touched"] > 5
        assert factories.ingest(late, now=LATER, allow_backfill=True).accepted == 1
        assert archives.dropped_months() == frozenset()

    def test_finds_nothing_to_do_again(self) -> None:
        fill()
        run("archive_events", "--as-of", AS_OF)
        run("replay_events", "--month", "2025-03")
        assert run("replay_events", "--month", "2025-03")["restored"] == []

    def test_says_that_a_month_was_not_archived(self) -> None:
        with pytest.raises(CommandError, match="month_not_archived"):
            call_command("replay_events", "--month", "2025-03")

    def test_asks_for_a_month(self) -> None:
        with pytest.raises(CommandError, match="--month"):
            call_command("replay_events")


class TestDrainDefaultPartition:
    def test_says_that_there_is_nothing_to_do(self) -> None:
        report = run("drain_default_partition")
        assert (report["moved"], report["busy"], report["default_rows"]) == ({}, [], 0)
        assert report["needs_person"] is False
