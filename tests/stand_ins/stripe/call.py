"""What a resource's function is handed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.stand_ins.stripe.account import Account, Cause, Object
from tests.stand_ins.stripe.parameters import Check


@dataclass(frozen=True)
class Call:
    """One checked request."""

    account: Account
    cause: Cause
    now: int
    parameters: Mapping[str, Any]
    object_id: str = ""


@dataclass(frozen=True)
class Endpoint:
    """One method and path, what it takes, and what it does; ``{id}`` in the path is the object's id."""

    method: str
    path: str
    run: Callable[[Call], Object]
    members: Mapping[str, Check]
    required: Sequence[str] = ()
