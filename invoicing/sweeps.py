"""What a sweep over many rows reports: one tenant's failure is told, and does not stop the others."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, InterfaceError, connection

from billing_site.kernel import database, errors

T = TypeVar("T")
Progress = Callable[[int, int], None]
log = logging.getLogger(__name__)


def silently(done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One row that could not be worked, and why. It is tried again by the next sweep."""

    id: str
    code: str
    detail: str


def attempt(row_id: str, work: Callable[[], T | None], failures: list[Failure]) -> T | None:
    """
    Work one row in a transaction of its own; a failure is logged, noted in ``failures``, and answered with None.

    Any exception is caught, because a fault of ours that one tenant's data brings to light must not keep the others
    from their invoices. Two are no tenant's doing and end the sweep: the database is gone, or the time is up. The next
    sweep goes on where this one stopped.
    """
    try:
        return database.retrying(work)
    except errors.DomainError as error:
        failures.append(Failure(id=row_id, code=error.code, detail=error.detail))
    except SoftTimeLimitExceeded:
        raise
    except (DatabaseError, InterfaceError) as error:
        if not connection.is_usable():
            raise
        log.exception("%s: refused by the database", row_id)
        code = database.raised_constraint(error) or "database_error"
        failures.append(Failure(id=row_id, code=code, detail=str(error).strip()))
    except Exception as error:
        log.exception("%s: failed", row_id)
        failures.append(Failure(id=row_id, code="internal_error", detail=f"{type(error).__name__}: {error}"))
    return None
