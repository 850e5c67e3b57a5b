"""Events: what happened to an object, with the object as it was then."""

from tests.stand_ins.stripe import parameters
from tests.stand_ins.stripe.account import Object
from tests.stand_ins.stripe.call import Call, Endpoint


def retrieve(call: Call) -> Object:
    """Return an event."""
    return call.account.get("events", call.object_id, "event")


def list_all(call: Call) -> Object:
    """List events, newest first, by type and time."""
    wanted = set(call.parameters.get("types") or ())
    if "type" in call.parameters:
        wanted.add(call.parameters["type"])
    bounds = call.parameters.get("created") or {}

    def is_kept(event: Object) -> bool:
        return (not wanted or event["type"] in wanted) and parameters.within(bounds, event["created"])

    return call.account.page("events", "/v1/events", call.parameters, is_kept)


_LIST = {
    **parameters.PAGE,
    "type": parameters.Text(),
    "types": parameters.Texts(),
    "created": parameters.Timestamps(),
}

ENDPOINTS = (
    Endpoint("GET", "/v1/events/{id}", retrieve, {}),
    Endpoint("GET", "/v1/events", list_all, _LIST),
)
