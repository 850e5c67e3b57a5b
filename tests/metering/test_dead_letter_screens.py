"""Dead letters for people: the screen with its actions, and the command."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client

from metering import models
from tests.factories import metering as factories
from tests.metering.test_replays import bury, sent, trail

pytestmark = pytest.mark.django_db
LIST = "/admin/metering/deadletter/"


def client(*permissions: str) -> Client:
    user = get_user_model().objects.create_user("finance", password="x" * 20, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_deadletter", *permissions]))
    made = Client()
    made.force_login(user)
    return made


def act(finance: Client, action: str, ids: list[str], **members: str) -> str:
    """The messages that the screen shows afterwards."""
    data = {"action": action, "_selected_action": ids, **members}
    answer = finance.post(LIST, data, follow=True)
    assert answer.status_code == 200
    return " ".join(str(message) for message in answer.context["messages"])


class TestScreen:
    def test_replays_the_chosen_ones(self) -> None:
        good, bad, other = bury(sent()), bury(sent(quantity=-1, idempotency_key="b")), bury(sent(idempotency_key="c"))
        told = act(client("replay_deadletter"), "replay", [good, bad])
        assert "1 replayed, 1 failed again (1 negative_quantity)" in told
        states = dict(models.DeadLetter.objects.values_list("pk", "state"))
        assert states == {good: "replayed", bad: "open", other: "open"}
        assert trail(good) == [("replayed", "admin:finance", "")]

    def test_discards_the_chosen_ones_with_a_reason(self) -> None:
        ids = [bury(sent(idempotency_key=f"k{n}")) for n in range(3)]
        finance = client("discard_deadletter")
        assert "Write the reason" in act(finance, "discard", ids, reason="  ")
        assert models.DeadLetter.objects.filter(state="open").count() == 3
        assert "3 discarded" in act(finance, "discard", ids, reason="a load test of theirs")
        letter = models.DeadLetter.objects.filter(state="discarded").first()
        assert letter is not None
        assert (letter.reason, letter.resolved_by) == ("a load test of theirs", "admin:finance")

    @pytest.mark.parametrize("permissions", [[], ["replay_deadletter"]])
    def test_offers_and_does_only_what_one_may(self, permissions: list[str]) -> None:
        letter_id = bury(sent())
        finance = client(*permissions)
        assert (b"Discard the chosen" in finance.get(LIST).content) is False
        assert (b"Replay the chosen" in finance.get(LIST).content) is bool(permissions)
        act(finance, "discard", [letter_id], reason="because")
        assert models.DeadLetter.objects.get().state == "open"

    def test_shows_a_letter_with_its_trail_and_changes_nothing(self) -> None:
        letter_id = bury(sent(quantity=-1))
        finance = client("replay_deadletter", "view_deadletteraction")
        act(finance, "replay", [letter_id])
        shown = finance.get(f"{LIST}{letter_id}/change/")
        assert b"replay_failed" in shown.content or b"Replay Failed" in shown.content
        assert finance.post(f"{LIST}{letter_id}/change/", {"code": "x"}).status_code == 403
        assert finance.post(f"{LIST}{letter_id}/delete/").status_code == 403


class TestInvestigationPage:
    PAGE = "/admin/metering/deadletter/investigation/"

    def test_shows_the_stages_and_what_stands_out(self) -> None:
        factories.ingest_many(3)
        bury(sent(event_timestamp="2026-11-20T12:00:00Z"))
        finance = client("view_usagesummary")
        assert b"Investigate a tenant" in finance.get(LIST).content
        assert finance.get(self.PAGE).status_code == 200
        asked = {"tenant_id": "acme-corp", "period_from": "2026-11-20 00:00", "period_to": "2026-11-21 00:00"}
        shown = finance.get(self.PAGE, asked)
        assert shown.context["totals"] == [3, 0, 0, 1, 0, 0, 0]
        assert b"1 dead letter is open as quota_exceeded" in shown.content
        assert b"They wait for the next aggregation" in shown.content

    @pytest.mark.parametrize(
        "query",
        [
            "tenant_id=x%00",
            "tenant_id=acme&period_from=x&period_to=y",
            "tenant_id=acme&period_from=2026-01-01&period_to=2026-12-01",
            "tenant_id=acme&period_from=2026-01-02&period_to=2026-01-01",
            "tenant_id=acme&period_from=0001-01-01&period_to=0001-01-02",
            "tenant_id=acme&period_from=9999-12-30&period_to=9999-12-31",
            "tenant_id=acme&period_from=2026-01-01&period_to=2026-01-02&meter=x%00",
        ],
    )
    def test_survives_what_is_no_period(self, query: str) -> None:
        assert client("view_usagesummary").get(f"{self.PAGE}?{query}").status_code == 200

    def test_needs_the_permission_to_see_usage(self) -> None:
        finance = client()
        assert finance.get(self.PAGE).status_code == 403
        assert b"Investigate a tenant" not in finance.get(LIST).content


def run(*arguments: Any) -> dict[str, Any]:
    output = io.StringIO()
    status: object = 0
    try:
        call_command("replay_dead_letters", *arguments, "--json", stdout=output)
    except SystemExit as left:
        status = left.code
    found: dict[str, Any] = json.loads(output.getvalue())
    assert status == int(found["needs_person"])
    return found


class TestCommand:
    AS_OF = ("--as-of", "2026-11-20T15:00:00Z")

    @pytest.mark.parametrize(
        ("arguments", "replayed"),
        [
            (["--tenant", "acme-corp"], 2),
            (["--tenant", "nobody"], 0),
            (["--code", "quota_exceeded"], 2),
            (["--code", "timestamp_too_old"], 1),
            (["--source", "gateway"], 3),
            (["--event-type", "api_call"], 3),
            (["--seen-from", "2026-11-20T12:30:00Z", "--seen-to", "2026-11-20T12:30:01Z"], 3),
            (["--seen-to", "2026-11-20T12:30:00Z"], 0),
            (["--all"], 3),
            (["--all", "--limit", "1"], 1),
        ],
    )
    def test_takes_the_letters_that_it_is_told(self, arguments: list[str], replayed: int) -> None:
        bury(sent())
        bury(sent(idempotency_key="b"))
        bury(sent(tenant_id="other"), tenant_id="other", code="timestamp_too_old")
        assert run(*arguments, *self.AS_OF)["replayed"] == replayed
        assert run(*arguments, *self.AS_OF)["replayed"] == (0 if "--limit" not in arguments else 1)

    def test_leaves_who_did_it_and_exits_with_1_while_letters_fail(self) -> None:
        letter_id = bury(sent(quantity=-1))
        report = run("--all", "--by", "ann", *self.AS_OF)
        assert (report["failed"], report["failed_by_code"], report["remaining"]) == (1, {"negative_quantity": 1}, 1)
        assert trail(letter_id) == [("replay_failed", "command:ann", "negative_quantity")]

    def test_takes_old_events_as_a_backfill_only(self) -> None:
        bury(sent(event_timestamp="2012-01-01T00:00:00Z"))
        assert run("--all", *self.AS_OF)["failed_by_code"] == {"timestamp_too_old": 1}
        assert run("--all", "--backfill", *self.AS_OF)["replayed"] == 1

    @pytest.mark.parametrize("arguments", [[], ["--all", "--limit", "0"], ["--code", "nonsense"], ["--seen-to", "x"]])
    def test_says_what_is_wrong_with_its_options(self, arguments: list[str]) -> None:
        factories.DeadLetterFactory.create()
        with pytest.raises(CommandError):
            call_command("replay_dead_letters", *arguments)
        assert models.DeadLetter.objects.get().state == "open"
