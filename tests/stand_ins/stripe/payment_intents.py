"""Payment intents: created, confirmed, and ended by what the test card does."""

from collections.abc import Mapping
from typing import Any

from tests.stand_ins.stripe import amounts, cards, charges, ids, parameters, payment_methods, problems
from tests.stand_ins.stripe.account import Object
from tests.stand_ins.stripe.call import Call, Endpoint
from tests.stand_ins.stripe.parameters import Check

_CONFIRMABLE = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})


def create(call: Call) -> Object:
    """Make an intent and, when asked, confirm it in the same call."""
    given = call.parameters
    _check_create(call)
    intent: Object = {
        "id": ids.new_id("pi"),
        "object": "payment_intent",
        "amount": given["amount"],
        "amount_capturable": 0,
        "amount_received": 0,
        "automatic_payment_methods": _automatic(given),
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{ids.new_id('secret')}",
        "confirmation_method": "automatic",
        "created": call.now,
        "currency": given["currency"],
        "customer": given.get("customer"),
        "description": given.get("description"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": given.get("metadata") or {},
        "next_action": None,
        "payment_method": None,
        "allowed_payment_method_types": given.get("allowed_payment_method_types"),
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "setup_future_usage": None,
        "status": "requires_payment_method",
    }
    intent["client_secret"] = f"{intent['id']}_{intent['client_secret']}"
    if given.get("payment_method"):
        _use(call, intent, given["payment_method"])
        intent["status"] = "requires_confirmation"
    call.account.put("payment_intents", intent)
    call.account.emit("payment_intent.created", intent, call.cause)
    return _confirm(call, intent) if given.get("confirm") else intent


def retrieve(call: Call) -> Object:
    """Return an intent."""
    return call.account.get("payment_intents", call.object_id, "payment_intent")


def confirm(call: Call) -> Object:
    """Confirm an intent, with another payment method when one is given."""
    intent = dict(call.account.get("payment_intents", call.object_id, "payment_intent"))
    if intent["status"] not in _CONFIRMABLE:
        message = (
            f"This PaymentIntent's status is {intent['status']}; "
            "only one that requires a payment method, confirmation or action can be confirmed."
        )
        raise problems.invalid(message, code="payment_intent_unexpected_state", payment_intent=intent)
    if call.parameters.get("payment_method"):
        _use(call, intent, call.parameters["payment_method"])
    return _confirm(call, intent)


def list_all(call: Call) -> Object:
    """List intents, newest first, by customer and time."""
    customer = call.parameters.get("customer") or ""
    bounds = call.parameters.get("created") or {}
    if customer:
        call.account.get("customers", customer, "customer", param="customer")

    def is_kept(intent: Object) -> bool:
        return parameters.within(bounds, intent["created"])

    return call.account.page("payment_intents", "/v1/payment_intents", call.parameters, is_kept, customer=customer)


def authenticated(call: Call, *, succeeded: bool) -> Object:
    """End the authentication that an intent waits for, as its owner's bank would; only tests ask for it."""
    intent = dict(call.account.get("payment_intents", call.object_id, "payment_intent"))
    if intent["status"] != "requires_action":
        raise problems.invalid("This PaymentIntent waits for nobody.", code="payment_intent_unexpected_state")
    return _succeed(call, intent) if succeeded else _fail(call, intent, cards.authentication_decline())


def _check_create(call: Call) -> None:
    """Refuse what Stripe refuses before it makes anything."""
    given = call.parameters
    currency, amount = given["currency"], given["amount"]
    if given.get("customer"):
        customer = call.account.get("customers", given["customer"], "customer", param="customer")
        if customer.get("deleted"):
            raise problems.no_such("customer", given["customer"], param="customer")
    if currency not in amounts.MINIMUM and not (len(currency) == 3 and currency.isascii() and currency.islower()):
        raise problems.invalid(f"Invalid currency: {currency}.", param="currency")
    if amount < amounts.MINIMUM.get(currency, 1):
        raise problems.invalid(
            f"Amount must be at least {amounts.MINIMUM[currency]} {currency}", param="amount", code="amount_too_small"
        )
    step = 100 if currency in amounts.WHOLE_HUNDREDS else 10 if currency in amounts.WHOLE_TENS else 1
    if amount % step:
        raise problems.invalid(f"Amounts in {currency} must end in zero", param="amount", code="invalid_charge_amount")
    if given.get("off_session") and not given.get("confirm"):
        raise problems.invalid("off_session can only be set when confirm is true.", param="off_session")
    if given.get("confirm") and not given.get("payment_method"):
        message = "You cannot confirm this PaymentIntent because it's missing a payment method."
        raise problems.invalid(message, code="payment_intent_unexpected_state")
    if given.get("confirm") and not _stays_here(given):
        message = (
            "This PaymentIntent is configured to accept payment methods that might redirect your customer off of your "
            "page: provide a `return_url`, or set `automatic_payment_methods[allow_redirects]` to `never`."
        )
        raise problems.invalid(message, param="return_url", code="parameter_missing")


def _stays_here(given: Any) -> bool:
    automatic = given.get("automatic_payment_methods") or {}
    named = given.get("allowed_payment_method_types") or given.get("return_url")
    return bool(named or automatic.get("allow_redirects") == "never")


def _automatic(given: Any) -> Object | None:
    if given.get("allowed_payment_method_types"):
        return None
    return {"allow_redirects": "always", "enabled": True, **(given.get("automatic_payment_methods") or {})}


def _use(call: Call, intent: Object, name: str) -> None:
    """Set the payment method, which must belong to the intent's customer or to nobody."""
    method = payment_methods.resolve(call, name, param="payment_method")
    if method["customer"] is not None and method["customer"] != intent["customer"]:
        message = (
            f"The provided PaymentMethod ({method['id']}) belongs to a Customer. "
            "Include that Customer in the `customer` parameter on the PaymentIntent."
        )
        raise problems.invalid(message, param="payment_method")
    intent["payment_method"] = method["id"]


def _confirm(call: Call, intent: Object) -> Object:
    """Charge the card and tell how it ended."""
    if intent["payment_method"] is None:
        message = "You cannot confirm this PaymentIntent because it's missing a payment method."
        raise problems.invalid(message, code="payment_intent_unexpected_state", payment_intent=intent)
    card = payment_methods.behaviour(call.account, intent["payment_method"])
    ending = card.ending()
    if ending is cards.Ending.SUCCEEDS:
        return _succeed(call, intent)
    if ending is cards.Ending.NEEDS_AUTHENTICATION and not call.parameters.get("off_session"):
        return _wait(call, intent)
    decline = card.decline or cards.authentication_decline()
    failed = _fail(call, intent, decline)
    raise problems.card_error(
        decline.message,
        code=decline.code,
        decline_code=decline.decline_code,
        advice_code=decline.advice_code,
        charge=failed["latest_charge"],
        payment_intent=failed,
        payment_method=failed["last_payment_error"]["payment_method"],
    )


def _succeed(call: Call, intent: Object) -> Object:
    charge = charges.make(call, intent, None)
    done = {
        **intent,
        "status": "succeeded",
        "amount_received": intent["amount"],
        "latest_charge": charge["id"],
        "last_payment_error": None,
        "next_action": None,
    }
    call.account.put("payment_intents", done)
    call.account.emit("payment_intent.succeeded", done, call.cause)
    return done


def _wait(call: Call, intent: Object) -> Object:
    waiting = {
        **intent,
        "status": "requires_action",
        "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}},
    }
    call.account.put("payment_intents", waiting)
    call.account.emit("payment_intent.requires_action", waiting, call.cause)
    return waiting


def _fail(call: Call, intent: Object, decline: cards.Decline) -> Object:
    charge = charges.make(call, intent, decline)
    error = {
        "type": "card_error",
        "charge": charge["id"],
        "code": decline.code,
        "decline_code": decline.decline_code,
        "advice_code": decline.advice_code,
        "message": decline.message,
        "payment_method": call.account.find("payment_methods", intent["payment_method"]),
    }
    failed = {
        **intent,
        "status": "requires_payment_method",
        "payment_method": None,
        "latest_charge": charge["id"],
        "last_payment_error": {name: value for name, value in error.items() if value is not None},
        "next_action": None,
    }
    call.account.put("payment_intents", failed)
    call.account.emit("payment_intent.payment_failed", failed, call.cause)
    return failed


_CONFIRM: Mapping[str, Check] = {
    "off_session": parameters.Flag(words=("one_off", "recurring")),
    "payment_method": parameters.Text(),
    "return_url": parameters.Text(),
}
_CREATE: Mapping[str, Check] = {
    **_CONFIRM,
    "amount": parameters.Integer(least=1),
    "automatic_payment_methods": parameters.Nested(
        {"enabled": parameters.Flag(), "allow_redirects": parameters.Choice(("always", "never"))}, ("enabled",)
    ),
    "confirm": parameters.Flag(),
    "currency": parameters.Text(3),
    "customer": parameters.Text(),
    "description": parameters.Text(1000),
    "metadata": parameters.Metadata(),
    "allowed_payment_method_types": parameters.Texts(words=("card",)),
}
_LIST: Mapping[str, Check] = {**parameters.PAGE, "customer": parameters.Text(), "created": parameters.Timestamps()}

ENDPOINTS = (
    Endpoint("POST", "/v1/payment_intents", create, _CREATE, ("amount", "currency")),
    Endpoint("GET", "/v1/payment_intents/{id}", retrieve, {}),
    Endpoint("POST", "/v1/payment_intents/{id}/confirm", confirm, _CONFIRM),
    Endpoint("GET", "/v1/payment_intents", list_all, _LIST),
)
