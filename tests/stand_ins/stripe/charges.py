"""Charges: one for each time a payment intent reaches the card's issuer."""

from tests.stand_ins.stripe import ids
from tests.stand_ins.stripe.account import Object
from tests.stand_ins.stripe.call import Call, Endpoint
from tests.stand_ins.stripe.cards import Decline


def make(call: Call, intent: Object, decline: Decline | None) -> Object:
    """Keep a charge of the intent's amount, paid or refused, and its event."""
    paid = decline is None
    charge: Object = {
        "id": ids.new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if paid else 0,
        "amount_refunded": 0,
        "captured": paid,
        "created": call.now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "disputed": False,
        "failure_code": None if decline is None else decline.code,
        "failure_message": None if decline is None else decline.message,
        "livemode": False,
        "metadata": intent["metadata"],
        "outcome": _outcome(decline),
        "paid": paid,
        "payment_intent": intent["id"],
        "payment_method": intent["payment_method"],
        "refunded": False,
        "status": "succeeded" if paid else "failed",
    }
    call.account.put("charges", charge)
    call.account.emit("charge.succeeded" if paid else "charge.failed", charge, call.cause)
    return charge


def retrieve(call: Call) -> Object:
    """Return a charge."""
    return call.account.get("charges", call.object_id, "charge")


def _outcome(decline: Decline | None) -> Object:
    if decline is None:
        return {"network_status": "approved_by_network", "reason": None, "type": "authorized"}
    return {"network_status": "declined_by_network", "reason": decline.decline_code, "type": "issuer_declined"}


ENDPOINTS = (Endpoint("GET", "/v1/charges/{id}", retrieve, {}),)
