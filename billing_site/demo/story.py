"""
What the demo does, step by step, from outside: tenants, a plan, two months of usage, invoices, payments.

Each step may be done twice, or be cut short and begun again, and the totals are the same. Subscriptions come after the
usage: two tenants have no grace period, and their finished months are billed at once by whoever sweeps first.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from billing_site.demo import client, keeping, screen, traffic, usage
from billing_site.supervisor import state

PLAN = {
    "code": "standard",
    "name": "Standard",
    "currency": "USD",
    "interval": "month",
    "billing_anchor": "calendar",
    "prices": [
        {
            "meter": "api_call",
            "model": "graduated",
            "tiers": [
                {"up_to": 1_000_000, "unit_amount_cents": "0.05"},
                {"up_to": None, "unit_amount_cents": "0.02"},
            ],
        },
        {"meter": "storage_gb_hour", "model": "per_unit", "unit_amount_cents": "0.4", "included_quantity": 10_000},
    ],
}
TENANTS = (
    {"id": "acme-corp", "name": "Acme Corp", "billing_channel": "stripe", "grace_hours": 0},
    {"id": "globex", "name": "Globex", "billing_channel": "stripe", "grace_hours": 0},
    {"id": "initech", "name": "Initech", "billing_channel": "manual"},
)
MANUAL_TENANT = "initech"
CARD = "pm_card_visa"
PAYMENT_SECONDS = 120.0


def tell(*, show: screen.Screen) -> client.Json:
    """
    Do it all; answer what came out.

    Idempotency: whatever was done before is found, not done again.

    Raises:
        GaveUp, Refused: a step did not work.
    """
    var = state.var_folder()
    base_url = str(state.read_json(var.services_file)["base_url"])
    client.wait_until_ready(base_url)
    now = datetime.now(tz=UTC)
    with show.step("an API key, and logins for the admin"):
        key = keeping.api_key(var, base_url)
        for login in keeping.admin_logins(var):
            _make_login(login)
    api = client.Client(base_url=base_url, api_key=key)
    with show.step("a plan and three tenants"):
        _make_customers(api)
    sent = _send_usage(api, now=now, show=show)
    with show.step("gateway requests of three days, a meter, a quota, events refused and corrected"):
        sent |= traffic.send(api, now=now)
    with show.step("hourly, daily and monthly summaries of the usage"):
        client.command("aggregate_usage")
    with show.step("a subscription for each tenant, from two months ago"):
        _subscribe(api, now=now)
    with show.step("drafts, invoices, and payments by Stripe's protocol"):
        _bill(api)
    with show.step("one draft finalized by hand, before its grace period is over"):
        _finalize_one(api)
    with show.step("usage that came too late for it, a quota reached, days that stand out"):
        api.post("/v1/events", {"events": [traffic.late_event(tenant_id=MANUAL_TENANT, now=now)], "backfill": True})
        for command in ("aggregate_usage", "fire_thresholds", "detect_anomalies"):
            client.command(command)
    keeping.write_facts(var, api_key=key)
    return {**sent, **_outcome(api), "base_url": base_url, "api_key": key}


def _make_login(login: Mapping[str, str]) -> None:
    client.command("create_admin_login", login["username"], "--role", login["role"], password=login["password"])


def _make_customers(api: client.Client) -> None:
    _make(api, "/v1/plans", PLAN, already="plan_exists")
    for tenant in TENANTS:
        body = {**tenant, "email": f"billing@{tenant['id']}.example", "currency": "USD"}
        _make(api, "/v1/tenants", body, already="tenant_exists")
    for tenant in TENANTS:
        if tenant["billing_channel"] == "stripe" and not api.list("/v1/payment-methods", tenant_id=str(tenant["id"])):
            body = {"tenant_id": tenant["id"], "processor_payment_method_id": CARD}
            api.post("/v1/payment-methods", body, key=f"demo:card:{tenant['id']}")


def _make(api: client.Client, path: str, body: Mapping[str, object], *, already: str) -> None:
    try:
        api.post(path, body)
    except client.Refused as refusal:
        # Somebody has played with it since; theirs stands.
        if refusal.code != already:
            raise


def _send_usage(api: client.Client, *, now: datetime, show: screen.Screen) -> client.Json:
    counts = {"accepted": 0, "duplicates": 0, "rejected": 0}
    batches = list(usage.batches(now=now))
    with show.progress("two months of usage through POST /v1/events", total=len(batches)) as advance:
        for batch in batches:
            # The older month may lie beyond the age limit of live events.
            answer = api.post("/v1/events", {"events": batch, "backfill": True})
            for name in counts:
                counts[name] += int(str(answer[name]))
            advance()
    if counts["rejected"]:
        raise client.GaveUp(f"{counts['rejected']} events were rejected; see /v1/dead-letters")
    return {"events_sent": sum(map(len, batches)), **{f"events_{name}": count for name, count in counts.items()}}


def _subscribe(api: client.Client, *, now: datetime) -> None:
    starts_at = usage.month_start(now, months_back=usage.MONTHS).isoformat().replace("+00:00", "Z")
    for tenant in TENANTS:
        if not api.list("/v1/subscriptions", tenant_id=str(tenant["id"])):
            body = {"tenant_id": tenant["id"], "plan_code": PLAN["code"], "starts_at": starts_at}
            api.post("/v1/subscriptions", body, key=f"demo:subscription:{tenant['id']}")


def _bill(api: client.Client) -> None:
    """The steps that beat takes too, at once and in order, until every Stripe tenant has paid."""
    by_card = {tenant["id"] for tenant in TENANTS if tenant["billing_channel"] == "stripe"}
    give_up_at = time.monotonic() + PAYMENT_SECONDS
    while True:
        for command in ("generate_invoices", "finalize_invoices", "collect_payments", "process_webhooks"):
            client.command(command)
        invoices = _list_invoices(api)
        unpaid = [row for row in invoices if row["tenant_id"] in by_card and row["status"] != "paid"]
        if {row["tenant_id"] for row in invoices} >= by_card and not unpaid:
            return
        if time.monotonic() > give_up_at:
            raise client.GaveUp(f"{len(unpaid)} invoices are still not paid: {[row['id'] for row in unpaid]}")
        time.sleep(client.PAUSE_SECONDS)


def _finalize_one(api: client.Client) -> None:
    """The manual tenant's oldest invoice, so that an open one is seen beside its drafts."""
    oldest = api.list("/v1/invoices", tenant_id=MANUAL_TENANT)[-1]
    if oldest["status"] == "draft":
        path = f"/v1/invoices/{oldest['id']}/finalize"
        try:
            api.post(path, {}, key=f"demo:finalize:{oldest['id']}")
        except client.Refused:
            # An answer that was lost: what counts is that it is a draft no more.
            if api.get(f"/v1/invoices/{oldest['id']}")["status"] == "draft":
                raise


def _list_invoices(api: client.Client) -> Sequence[client.Json]:
    return [invoice for tenant in TENANTS for invoice in api.list("/v1/invoices", tenant_id=str(tenant["id"]))]


def _outcome(api: client.Client) -> client.Json:
    columns = (
        "tenant_id",
        "number",
        "status",
        "period_start",
        "period_end",
        "total_cents",
        "amount_paid_cents",
        "currency",
    )
    rows = [{name: invoice[name] for name in columns} for invoice in _list_invoices(api)]
    balance = api.get("/v1/ledger/trial-balance", currency=str(PLAN["currency"]))
    return {
        "invoices": sorted(rows, key=lambda row: (str(row["tenant_id"]), str(row["period_start"]))),
        "payments": len(api.list("/v1/payments", channel="stripe")),
        "trial_balance": balance["data"],
        "ledger_totals": balance["totals"],
    }


def main(arguments: Sequence[str]) -> int:
    """Tell the story of the services that run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m billing_site.demo.story", description=tell.__doc__)
    parser.add_argument("--json", action="store_true", help="print what came out as one JSON line")
    options = parser.parse_args(arguments)
    show = screen.Screen()
    try:
        outcome = tell(show=show)
    except (client.GaveUp, client.Refused) as error:
        show.failure(str(error))
        return 1
    if options.json:
        sys.stdout.write(json.dumps(outcome) + "\n")
    else:
        show.outcome(
            outcome, logins=keeping.admin_logins(state.var_folder()), facts=keeping.facts_file(state.var_folder())
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
