"""
Real usage, from the first event to a paid invoice: the Azure LLM inference trace 2023 (Azure/AzurePublicDataset,
CC-BY-4.0), 8,819 requests with their input and output tokens. Its place is named by USAGE_TRACE_CSV.
"""

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import call_command
from django.db import transaction
from pytest_django.fixtures import Settings

from billing_site import settings as site
from billing_site.kernel import clock
from invoicing import subscriptions
from metering import models as metering_models
from payments import models as payment_models
from tests.factories import kernel as factories
from tests.stand_ins.stripe import launch
from tests.support import waiting

pytestmark = [
    pytest.mark.trace,
    pytest.mark.processes,
    pytest.mark.skipif(not os.environ.get("USAGE_TRACE_CSV"), reason="USAGE_TRACE_CSV names no trace"),
]
TENANT = "azure-llm"
NOVEMBER, DECEMBER = "2023-11-01T00:00:00Z", "2023-12-01T00:00:00Z"
PLAN = {
    "code": "tokens",
    "name": "Tokens",
    "currency": "USD",
    "interval": "month",
    "billing_anchor": "calendar",
    "prices": [
        {"meter": "llm.input_tokens", "model": "per_unit", "unit_amount_cents": "0.0003"},
        {"meter": "llm.output_tokens", "model": "per_unit", "unit_amount_cents": "0.0015"},
    ],
}
MAPS = [
    f"event_type=llm.{kind}_tokens quantity={{{column}}} event_timestamp={{TIMESTAMP}} idempotency_key={{row}}-{kind}"
    for kind, column in (("input", "ContextTokens"), ("output", "GeneratedTokens"))
]


def run(command: str, *arguments: str, as_of: str) -> dict[str, Any]:
    out = StringIO()
    call_command(command, *arguments, "--as-of", as_of, "--json", stdout=out)
    report: dict[str, Any] = json.loads(out.getvalue())
    return report


def ingest() -> dict[str, Any]:
    options = ["--tenant", TENANT, "--timezone", "UTC", "--backfill"]
    maps = [option for text in MAPS for option in ("--map", text)]
    return run("ingest", os.environ["USAGE_TRACE_CSV"], *options, *maps, as_of="2023-11-17T00:00:00Z")


@contextmanager
def collecting_by_stripe(settings: Settings, log: Path) -> Iterator[launch.StandIn]:
    """The stand-in and the web process to which it sends its webhooks, over real HTTP in both directions."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    stand_in = launch.start(webhook_url=f"http://127.0.0.1:{port}/webhooks/stripe")
    settings.STRIPE_API_BASE = stand_in.url
    settings.STRIPE_API_KEY = stand_in.api_key
    environment = {**os.environ, "HTTPS": "false", "STRIPE_WEBHOOK_SECRET": stand_in.webhook_secret}
    with log.open("wb") as output:
        web = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "billing_site.wsgi", "-b", f"127.0.0.1:{port}", "--no-control-socket"],
            cwd=site.BASE_DIR,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            waiting.until(lambda: answers(port), seconds=30, what="the web process")
            yield stand_in
        finally:
            web.terminate()
            web.wait(20)
            stand_in.stop()


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=10).ok
    except requests.RequestException:
        return False


class TestUsageTrace:
    def test_is_billed_to_the_cent_and_paid(self, committed_db: str, settings: Settings, tmp_path: Path) -> None:
        with Path(os.environ["USAGE_TRACE_CSV"]).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 8819
        client = factories.client()
        tenant = {"id": TENANT, "name": "Azure", "currency": "USD", "billing_channel": "stripe"}
        assert client.post("/v1/tenants", tenant, format="json").status_code == 201
        assert client.post("/v1/plans", PLAN, format="json").status_code == 201
        with transaction.atomic():
            subscriptions.create_subscription(
                tenant_id=TENANT,
                plan_code="tokens",
                starts_at=clock.parse_instant(NOVEMBER),
                metadata={},
                now=clock.parse_instant(NOVEMBER),
            )

        first = ingest()
        assert (first["accepted"], first["duplicates"], first["rejected"]) == (2 * 8819, 0, 0)
        again = ingest()
        assert (again["accepted"], again["duplicates"], again["rejected"]) == (0, 2 * 8819, 0)
        assert metering_models.Event.objects.count() == 2 * 8819

        run("aggregate_usage", as_of="2023-11-17T00:05:00Z")
        usage = client.get(
            "/v1/usage",
            {"tenant_id": TENANT, "from": NOVEMBER, "to": DECEMBER, "granularity": "month"},
        ).json()
        assert {row["event_type"]: (row["total_quantity"], row["event_count"]) for row in usage["data"]} == {
            "llm.input_tokens": (18_059_974, 8819),
            "llm.output_tokens": (245_896, 8819),
        }

        assert run("generate_invoices", as_of="2023-11-30T23:59:59Z")["drafted"] == 0
        assert run("generate_invoices", as_of=DECEMBER)["drafted"] == 1
        assert run("finalize_invoices", as_of="2023-12-02T23:59:59Z")["finalized"] == 0
        assert run("finalize_invoices", as_of="2023-12-03T00:00:00Z")["finalized"] == 1
        (invoice,) = client.get("/v1/invoices", {"tenant_id": TENANT}).json()["data"]
        assert (invoice["status"], invoice["number"]) == ("open", "INV-2023-000001")
        assert (invoice["period_start"], invoice["period_end"]) == (NOVEMBER, DECEMBER)
        lines = {line["meter"]: (line["quantity"], line["amount_cents"]) for line in invoice["lines"]}
        assert lines == {"llm.input_tokens": (18_059_974, 5418), "llm.output_tokens": (245_896, 369)}
        assert invoice["total_cents"] == invoice["amount_due_cents"] == 5787
        assert receivable(client) == 5787

        with collecting_by_stripe(settings, tmp_path / "web.log") as stripe:
            card = {"tenant_id": TENANT, "processor_payment_method_id": "pm_card_visa"}
            assert client.post("/v1/payment-methods", card, format="json").status_code == 201
            for _ in range(2):
                run("collect_payments", as_of="2023-12-03T00:05:00Z")
            waiting.until(
                lambda: payment_models.ProviderMessage.objects.filter(event_type="payment_intent.succeeded").exists(),
                seconds=30,
                what="the signed webhook",
            )
            for _ in range(2):
                run("process_webhooks", as_of="2023-12-03T00:06:00Z")
            assert [charge["amount"] for charge in stripe.charged()] == [5787]

        invoice = client.get(f"/v1/invoices/{invoice['id']}").json()
        assert (invoice["status"], invoice["paid_at"]) == ("paid", "2023-12-03T00:05:00Z")
        assert (invoice["amount_paid_cents"], invoice["amount_due_cents"]) == (5787, 0)
        (payment,) = client.get("/v1/payments", {"tenant_id": TENANT}).json()["data"]
        assert (payment["amount_cents"], payment["invoice_id"]) == (5787, invoice["id"])
        assert receivable(client) == 0
        balance = client.get("/v1/ledger/trial-balance", {"currency": "USD"}).json()
        amounts = {row["account_type"]: row["balance_cents"] for row in balance["data"]}
        assert amounts["processor_clearing"] == amounts["usage_revenue"] == 5787
        (totals,) = balance["totals"]
        assert totals["debit_cents"] == totals["credit_cents"]


def receivable(client: Any) -> int:
    """What the tenant owes, as the ledger says."""
    cents: int = client.get(f"/v1/tenants/{TENANT}/balance").json()["receivable_cents"]
    return cents
