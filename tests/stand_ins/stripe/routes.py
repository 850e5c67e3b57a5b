"""Which call goes where."""

import re

from tests.stand_ins.stripe import charges, customers, events, payment_intents, payment_methods
from tests.stand_ins.stripe.call import Endpoint
from tests.stand_ins.stripe.problems import StripeProblem

ENDPOINTS: tuple[Endpoint, ...] = (
    *customers.ENDPOINTS,
    *payment_methods.ENDPOINTS,
    *payment_intents.ENDPOINTS,
    *charges.ENDPOINTS,
    *events.ENDPOINTS,
)
_PATTERNS = tuple(
    (endpoint.method, re.compile(endpoint.path.replace("{id}", "(?P<id>[A-Za-z0-9_]+)")), endpoint)
    for endpoint in ENDPOINTS
)


def find(method: str, path: str) -> tuple[Endpoint, str]:
    """Return the endpoint and the object's id, or answer 404."""
    for wanted, pattern, endpoint in _PATTERNS:
        match = pattern.fullmatch(path)
        if match is not None and wanted == method:
            return endpoint, match.groupdict().get("id") or ""
    raise StripeProblem(404, f"Unrecognized request URL ({method}: {path}).")
