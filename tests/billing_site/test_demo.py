import json
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from billing_site.embedded import ports, postgres
from billing_site.supervisor import state
from tests.support import service_processes, waiting

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    var = tmp_path_factory.mktemp("demo") / "var"
    yield var
    assert not service_processes.left_over(var)
    postgres.remove(var / "postgres")


@pytest.fixture(scope="module")
def demo(var: Path) -> Iterator[service_processes.Service]:
    with service_processes.started("demo", var=var) as running:
        waiting.until(
            lambda: (var / "demo.json").exists() or running.process.poll() is not None,
            seconds=240,
            what="demo.json",
        )
        assert running.process.poll() is None, running.errors()
        yield running


@pytest.fixture
def facts(demo: service_processes.Service) -> dict[str, object]:
    return state.read_json(demo.var.path / "demo.json")


@pytest.fixture
def api(facts: dict[str, object]) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {facts['api_key']}"}
    with httpx.Client(base_url=str(facts["base_url"]), headers=headers, timeout=20, trust_env=False) as client:
        yield client


def rows(api: httpx.Client, path: str) -> list[dict[str, object]]:
    response = api.get(path)
    assert response.status_code == 200, response.text
    return list(response.json()["data"])


class TestFacts:
    def test_are_what_scripts_need_and_for_the_owner_alone(
        self, demo: service_processes.Service, facts: dict[str, object]
    ) -> None:
        assert set(facts) == {
            "base_url",
            "api_key",
            "admin_logins",
            "database_url",
            "owner_database_url",
            "redis_url",
            "pids",
        }
        assert stat.S_IMODE((demo.var.path / "demo.json").stat().st_mode) == 0o600
        assert facts["pids"] == demo.pids()

    def test_name_the_services_own_role(self, facts: dict[str, object]) -> None:
        with psycopg.connect(str(facts["database_url"])) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (postgres.SERVICE_ROLE,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("DELETE FROM ledger_entry")

    def test_follow_a_restart(self, demo: service_processes.Service) -> None:
        pid = demo.kill("worker")
        waiting.until(
            lambda: (
                state.read_json(demo.var.path / "demo.json")["pids"] == demo.pids() and demo.pids()["worker"] != pid
            ),
            seconds=20,
            what="the new worker in demo.json",
        )


class TestOutcome:
    def test_has_paid_open_and_draft_invoices(self, api: httpx.Client) -> None:
        found = {(row["tenant_id"], row["status"]) for row in rows(api, "/v1/invoices?limit=100")}
        assert found == {("acme-corp", "paid"), ("globex", "paid"), ("initech", "open"), ("initech", "draft")}

    def test_balances_the_ledger_against_the_invoices(self, api: httpx.Client) -> None:
        invoices = rows(api, "/v1/invoices?limit=100")
        billed = sum(int(str(row["total_cents"])) for row in invoices if row["number"])
        due = sum(int(str(row["amount_due_cents"])) for row in invoices if row["number"])
        balance = {row["account_type"]: row["balance_cents"] for row in rows(api, "/v1/ledger/trial-balance")}
        assert balance["usage_revenue"] == billed
        assert balance["accounts_receivable"] == due

    def test_shows_new_usage_within_seconds(self, api: httpx.Client) -> None:
        def total() -> int:
            now = time.gmtime()
            period = f"from={now.tm_year}-{now.tm_mon:02}-01T00:00:00Z&to={time.strftime('%Y-%m-%dT23:59:59Z', now)}"
            path = f"/v1/usage?tenant_id=acme-corp&event_type=api_call&granularity=month&{period}"
            return sum(int(str(row["total_quantity"])) for row in rows(api, path))

        before = total()
        event = {"tenant_id": "acme-corp", "event_type": "api_call", "quantity": 5000, "idempotency_key": "try"}
        assert api.post("/v1/events", json=event).json()["accepted"] == 1
        waiting.until(lambda: total() == before + 5000, seconds=10, what="the new usage")

    @pytest.mark.parametrize("login", [0, 1])
    def test_lets_both_people_into_the_admin(self, facts: dict[str, object], login: int) -> None:
        logins = facts["admin_logins"]
        assert isinstance(logins, list)
        with httpx.Client(base_url=str(facts["base_url"]), follow_redirects=True, trust_env=False) as browser:
            page = browser.get("/admin/login/?next=/admin/")
            form = {
                "username": logins[login]["username"],
                "password": logins[login]["password"],
                "csrfmiddlewaretoken": re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[0],
            }
            inside = browser.post("/admin/login/?next=/admin/", data=form)
            assert inside.status_code == 200
            assert inside.url.path == "/admin/"
            invoices = browser.get("/admin/invoicing/invoice/")
            assert "INV-" in invoices.text

    def test_serves_the_api_docs(self, facts: dict[str, object]) -> None:
        with httpx.Client(base_url=str(facts["base_url"]), trust_env=False) as browser:
            page = browser.get("/docs")
            assert page.status_code == 200
            for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
                assert browser.get(asset).status_code == 200
            assert browser.get("/v1/schema").json()["openapi"].startswith("3.1")


class TestSecondRun:
    def test_uses_the_running_one(self, demo: service_processes.Service, var: Path, api: httpx.Client) -> None:
        before = rows(api, "/v1/invoices?limit=100")
        found = run(var, "--json")
        assert (found["events_accepted"], found["events_duplicates"]) == (0, found["events_sent"])
        assert rows(api, "/v1/invoices?limit=100") == before
        assert demo.process.poll() is None

    def test_resets_the_running_one_then_reuses_what_was_left(self, demo: service_processes.Service, var: Path) -> None:
        fresh = run(var, "--reset", "--until-ready", "--json")
        assert demo.process.wait(30) == 0
        assert fresh["events_accepted"] == fresh["events_sent"]
        again = run(var, "--until-ready", "--json")
        assert again["events_duplicates"] == fresh["events_sent"]
        assert {**again, "events_accepted": 0, "events_duplicates": 0, "base_url": ""} == {
            **fresh,
            "events_accepted": 0,
            "events_duplicates": 0,
            "base_url": "",
        }
        assert not (var / "demo.json").exists()


def run(var: Path, *options: str) -> dict[str, object]:
    with service_processes.started("demo", *options, var=var, port=ports.find_free(), name="second") as second:
        assert second.process.wait(240) == 0, second.errors()
        return dict(json.loads(second.output().splitlines()[-1]))
