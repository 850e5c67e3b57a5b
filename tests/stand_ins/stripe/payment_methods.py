"""Payment methods: the documented test cards become real objects the moment they are used, as at Stripe."""

from tests.stand_ins.stripe import cards, ids, parameters, problems
from tests.stand_ins.stripe.account import Account, Object
from tests.stand_ins.stripe.call import Call, Endpoint

# Which test card a payment method was made from; Stripe keeps that to itself, and so does every answer.
_BEHAVIOURS = "payment_method_behaviours"


def retrieve(call: Call) -> Object:
    """Return a payment method."""
    return resolve(call, call.object_id)


def attach(call: Call) -> Object:
    """Attach a payment method to a customer, which its issuer may refuse."""
    customer = call.parameters["customer"]
    known = call.account.get("customers", customer, "customer", param="customer")
    if known.get("deleted"):
        raise problems.no_such("customer", customer, param="customer")
    method = resolve(call, call.object_id)
    if method["customer"] == customer:
        return method
    if method["customer"] is not None:
        raise problems.invalid("The payment method you provided has already been attached to a customer.")
    card = behaviour(call.account, method["id"])
    if card.decline is not None and not card.attaches:
        decline = card.decline
        raise problems.card_error(
            decline.message, code=decline.code, decline_code=decline.decline_code, advice_code=decline.advice_code
        )
    attached = call.account.put("payment_methods", {**method, "customer": customer})
    call.account.emit("payment_method.attached", attached, call.cause)
    return attached


def list_all(call: Call) -> Object:
    """List the payment methods of a customer."""
    customer = call.parameters["customer"]
    call.account.get("customers", customer, "customer", param="customer")

    def is_kept(method: Object) -> bool:
        return bool(method["customer"] == customer)

    return call.account.page("payment_methods", "/v1/payment_methods", call.parameters, is_kept, customer=customer)


def list_of_customer(call: Call) -> Object:
    """List the payment methods of the customer in the path."""
    call.account.get("customers", call.object_id, "customer")

    def is_kept(method: Object) -> bool:
        return bool(method["customer"] == call.object_id)

    url = f"/v1/customers/{call.object_id}/payment_methods"
    return call.account.page("payment_methods", url, call.parameters, is_kept, customer=call.object_id)


def resolve(call: Call, name: str, *, param: str = "id") -> Object:
    """Return the payment method of this name, making one when it names a test card."""
    card = cards.find(name)
    if card is None:
        return call.account.get("payment_methods", name, "PaymentMethod", param=param)
    method = call.account.put("payment_methods", _made(card, call.now))
    call.account.put(_BEHAVIOURS, {"id": method["id"], "card": name})
    return method


def behaviour(account: Account, method_id: str) -> cards.Card:
    """Return the test card behind a payment method."""
    kept = account.find(_BEHAVIOURS, method_id)
    return cards.CARDS[kept["card"] if kept else "pm_card_visa"]


def _made(card: cards.Card, now: int) -> Object:
    return {
        "id": ids.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
        "card": {
            "brand": card.brand,
            "checks": {"cvc_check": "pass"},
            "country": "US",
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": f"stand-in-{card.brand}-{card.last4}",
            "funding": "credit",
            "last4": card.last4,
        },
        "created": now,
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }


_LIST = {**parameters.PAGE, "type": parameters.Choice(("card",))}

ENDPOINTS = (
    Endpoint("GET", "/v1/payment_methods/{id}", retrieve, {}),
    Endpoint("POST", "/v1/payment_methods/{id}/attach", attach, {"customer": parameters.Text()}, ("customer",)),
    Endpoint("GET", "/v1/payment_methods", list_all, {**_LIST, "customer": parameters.Text()}, ("customer",)),
    Endpoint("GET", "/v1/customers/{id}/payment_methods", list_of_customer, _LIST),
)
