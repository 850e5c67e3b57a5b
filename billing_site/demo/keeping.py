"""What the demo keeps from one run to the next, and what it tells scripts (``demo.json``)."""

from collections.abc import Mapping
from pathlib import Path

from billing_site.demo import client
from billing_site.supervisor import services, state

LOGINS = (("admin", "superuser"), ("finance", "finance"))


def facts_file(var: state.VarFolder) -> Path:
    """What scripts need; there while the demo runs and is ready."""
    return var.path / "demo.json"


def folder(var: state.VarFolder) -> Path:
    """What only the demo itself reads."""
    return var.path / "demo"


def stripe_settings(var: state.VarFolder) -> dict[str, str]:
    """Keys of the stand-in's account, invented once."""
    return {
        "STRIPE_API_KEY": f"sk_test_{var.secret('stripe-api-key')}",
        "STRIPE_WEBHOOK_SECRET": f"whsec_{var.secret('stripe-webhook')}",
    }


def admin_logins(var: state.VarFolder) -> list[dict[str, str]]:
    """Who can log in to the admin: one who may do all, one who may look."""
    return [
        {"username": name, "password": var.secret(f"password-of-{name}")[:20], "role": role} for name, role in LOGINS
    ]


def api_key(var: state.VarFolder, base_url: str) -> str:
    """The key of earlier runs if the service still knows it, else a new one with scope ``admin``."""
    file = folder(var) / "api-key.json"
    kept = str(state.read_json(file).get("api_key", ""))
    if kept and _is_known(base_url, kept):
        return kept
    made = client.command("create_api_key", "demo", "--scope", "admin")
    file.parent.mkdir(parents=True, exist_ok=True)
    state.write_json(file, {"api_key": made["api_key"]})
    return str(made["api_key"])


def write_facts(var: state.VarFolder, *, api_key: str) -> None:
    """Write ``demo.json``."""
    running = state.read_json(var.services_file)
    addresses = {
        name: running[name] for name in ("base_url", "database_url", "owner_database_url", "redis_url", "pids")
    }
    content = {**addresses, "api_key": api_key, "admin_logins": admin_logins(var)}
    state.write_json(facts_file(var), content)


def refresh_pids(var: state.VarFolder, pids: Mapping[str, int]) -> None:
    """After a restart, say who is who now."""
    if content := state.read_json(facts_file(var)):
        state.write_json(facts_file(var), {**content, "pids": dict(pids)})


def forget(var: state.VarFolder) -> None:
    """Delete everything that the demo and its services keep. The caller holds the folder's lock."""
    services.wipe(var)
    facts_file(var).unlink(missing_ok=True)
    for file in folder(var).glob("*"):
        file.unlink()


def _is_known(base_url: str, key: str) -> bool:
    try:
        client.Client(base_url=base_url, api_key=key).get("/v1/tenants", limit="1")
    except client.Refused:
        return False
    return True
