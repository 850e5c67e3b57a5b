"""A rival that leads others into a real deadlock, and is never the one that PostgreSQL sacrifices for it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.support.threads import PATIENCE_SECONDS

# What posting waits for, and what whoever posts about an invoice holds by then.
POSTINGS_OF_MAIN = "SELECT pg_advisory_xact_lock(27748, hashtext('main'))"
INVOICES = "LOCK TABLE invoicing_invoice IN EXCLUSIVE MODE"


@contextmanager
def provoked(superuser: psycopg.Cursor, *, held: str, wanted: str) -> Iterator[None]:
    """
    While the block runs, a rival holds ``held``, and once somebody waits for that it asks for ``wanted``.

    Whoever works inside must lock ``wanted`` before ``held``. The block fails unless the rival got both, which it only
    can when the other's transaction was undone.
    """
    holding, got_both = threading.Event(), threading.Event()

    def lead_astray() -> None:
        superuser.execute("SET deadlock_timeout = '1h'")  # the rival does not look for deadlocks, so it is never undone
        superuser.execute("BEGIN")
        superuser.execute(held)
        holding.set()
        ends = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < ends:
            superuser.execute("SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))")
            if superuser.rowcount:
                superuser.execute(wanted)
                got_both.set()
                break
            time.sleep(0.02)
        superuser.execute("ROLLBACK")

    rival = threading.Thread(target=lead_astray, daemon=True)
    rival.start()
    assert holding.wait(PATIENCE_SECONDS)
    yield
    rival.join(PATIENCE_SECONDS)
    assert got_both.is_set(), "nobody waited for the rival: there was no deadlock"
