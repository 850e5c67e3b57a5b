"""Customers."""

from collections.abc import Mapping

from tests.stand_ins.stripe import ids, parameters
from tests.stand_ins.stripe.account import Object
from tests.stand_ins.stripe.call import Call, Endpoint
from tests.stand_ins.stripe.parameters import Check

_ADDRESS = parameters.Nested(
    {part: parameters.Text(500) for part in ("city", "country", "line1", "line2", "postal_code", "state")}
)
_SETTINGS = parameters.Nested({"default_payment_method": parameters.Text()})
_MEMBERS: Mapping[str, Check] = {
    "address": _ADDRESS,
    "description": parameters.Text(),
    "email": parameters.Text(512),
    "invoice_settings": _SETTINGS,
    "metadata": parameters.Metadata(),
    "name": parameters.Text(256),
    "phone": parameters.Text(20),
}


def create(call: Call) -> Object:
    """Make a customer."""
    customer: Object = {
        "id": ids.new_id("cus", 14),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": call.now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "email": None,
        "invoice_settings": {"default_payment_method": None},
        "livemode": False,
        "metadata": {},
        "name": None,
        "phone": None,
        "shipping": None,
        "tax_exempt": "none",
    }
    _apply(call, customer)
    call.account.put("customers", customer)
    call.account.emit("customer.created", customer, call.cause)
    return customer


def retrieve(call: Call) -> Object:
    """Return a customer; a deleted one is only a stub."""
    return call.account.get("customers", call.object_id, "customer")


def update(call: Call) -> Object:
    """Change what is given and leave the rest."""
    customer = dict(call.account.get("customers", call.object_id, "customer"))
    if not call.parameters:
        return customer
    _apply(call, customer)
    call.account.put("customers", customer)
    call.account.emit("customer.updated", customer, call.cause)
    return customer


def delete(call: Call) -> Object:
    """Delete a customer: its payment methods come loose, its id answers as deleted."""
    customer = call.account.get("customers", call.object_id, "customer")
    call.account.put("customers", {"id": customer["id"], "object": "customer", "deleted": True})
    call.account.emit("customer.deleted", customer, call.cause)
    return {"id": customer["id"], "object": "customer", "deleted": True}


def _apply(call: Call, customer: Object) -> None:
    """Write the given members, metadata key by key."""
    for name, value in call.parameters.items():
        if name == "metadata":
            merged = {**customer["metadata"], **value}
            customer[name] = {key: text for key, text in merged.items() if text != ""}
        elif name == "invoice_settings":
            method = value.get("default_payment_method")
            if method is not None:
                call.account.get("payment_methods", method, "PaymentMethod", param=name)
            customer[name] = {**customer[name], **value}
        else:
            customer[name] = value


ENDPOINTS = (
    Endpoint("POST", "/v1/customers", create, _MEMBERS),
    Endpoint("GET", "/v1/customers/{id}", retrieve, {}),
    Endpoint("POST", "/v1/customers/{id}", update, _MEMBERS),
    Endpoint("DELETE", "/v1/customers/{id}", delete, {}),
)
