"""
Reads usage the way the API does, and tells how long PostgreSQL took: ``benchmarks.usage`` starts it.

Takes a JSON object on its standard input and answers one on its standard output.
"""

import contextlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import django
from django.db import connection

django.setup()

from metering import models, requests, usage, usage_rows  # noqa: E402  (needs the app registry)

METER = "api.request"


def main() -> None:
    job = json.loads(sys.stdin.read())
    answer = {"reads": read, "recompute": recompute}[job["work"]](job)
    print(json.dumps(answer))


def read(job: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds of SQL of each read, by the clock and of the processor, for tenants drawn evenly."""
    pid = backend()
    start, end = datetime.fromisoformat(job["start"]), datetime.fromisoformat(job["end"])
    day = end - timedelta(days=1)
    draw = random.Random(7)  # noqa: S311  (a benchmark)
    tenants = [job["largest"], *(draw.choice(job["tenants"]) for _ in range(job["count"] - 1))]
    reads: dict[str, Callable[[str], object]] = {
        "usage of a day by hour": lambda tenant: rows(tenant, day, end, models.Granularity.HOUR),
        "requests of a day by hour, error rates": lambda tenant: requests.list_error_rates(
            tenant_id=tenant, period_from=day, period_to=end, limit=1000
        ),
        "usage of the month by hour": lambda tenant: rows(tenant, start, end, models.Granularity.HOUR),
        "usage of the month by day": lambda tenant: rows(tenant, start, end, models.Granularity.DAY),
        "usage of the month, one row": lambda tenant: rows(tenant, start, end, models.Granularity.MONTH),
        "total of the month, as billing reads it": lambda tenant: usage.totals(
            tenant_id=tenant, meters=[METER], period_start=start, period_end=end
        ),
        "total of a month that begins at :30": lambda tenant: usage.totals(
            tenant_id=tenant,
            meters=[METER],
            period_start=start + timedelta(minutes=30),
            period_end=end - timedelta(minutes=30),
        ),
        "requests of the month, totals": lambda tenant: requests.get_totals(
            tenant_id=tenant, period_start=start, period_end=end
        ),
        "requests of the month, top endpoints": lambda tenant: requests.list_endpoints(
            tenant_id=tenant, period_from=start, period_to=end, limit=20
        ),
        "requests of 30 days from noon, top endpoints": lambda tenant: requests.list_endpoints(
            tenant_id=tenant, period_from=start + timedelta(hours=12), period_to=end - timedelta(hours=5), limit=20
        ),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in reads}
    for tenant in tenants:
        for name, one in reads.items():
            before = cpu_of(pid)
            with timed() as clock:
                one(tenant)
            taken[name].append((clock[0] * 1000, (cpu_of(pid) - before) * 1000))
    return taken


def recompute(job: dict[str, Any]) -> dict[str, float]:
    """What the request roll-up of these windows costs, written anew."""
    windows = [tuple(window) for window in job["windows"]]
    now = datetime.fromisoformat(job["end"])
    with connection.cursor() as cursor:
        cursor.execute("SET jit = off")
    pid = backend()
    before, began = cpu_of(pid), time.perf_counter()
    changed = requests.recompute(windows=windows, now=now)
    return {"seconds": time.perf_counter() - began, "cpu": cpu_of(pid) - before, "changed": changed}


def rows(tenant: str, start: datetime, end: datetime, granularity: models.Granularity) -> object:
    return usage_rows.list_usage(
        tenant_id=tenant, meter=METER, period_from=start, period_to=end, granularity=granularity, limit=1000
    )


@contextlib.contextmanager
def timed() -> Iterator[list[float]]:
    """The seconds that statements took, in one place of a list."""
    spent = [0.0]

    def measure(execute: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            spent[0] += time.perf_counter() - began

    with connection.execute_wrapper(measure):
        yield spent


def backend() -> int:
    """The process that serves this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def cpu_of(pid: int) -> float:
    """Processor seconds that a process has used."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:  # noqa: PTH123  (no path of ours)
        return int(file.read().split()[0]) / 1e9


if __name__ == "__main__":
    main()
