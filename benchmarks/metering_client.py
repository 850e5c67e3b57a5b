"""
One client of ``benchmarks.metering``: makes its load ready, waits for the word, works, tells what it took.

Its answer is one line: events, seconds, its own CPU seconds, those of its server process.
"""

import http.client
import json
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import django
from django.db import connection, transaction

django.setup()

from metering import aggregation, hours, ingestion, models, schemas, series  # noqa: E402  (needs the app registry)

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
TENANTS = 5_000
DIRTY_HOUR = hours.hour_of(NOW) - 2
FIRST_FILLED_HOUR = hours.hour_of(NOW) - 3 - 720
FILLED_HOURS = 720
LATE_WINDOWS = 500
REPEATED_SHARE = 0.05
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")

RAW_COPY = (
    "COPY bench_event (tenant_id, event_type, idempotency_key, event_timestamp, quantity, created_at, source, "
    "properties) FROM STDIN"
)
GROUP_HOUR = """
    SELECT series_id, sum(quantity), count(*), max(quantity) FROM metering_event WHERE event_hour = %s
    GROUP BY series_id
"""


def make_events(chance: random.Random, count: int) -> list[schemas.EventIn]:
    """Events of any tenant in the running hour, as a gateway would send them."""
    return [
        schemas.EventIn(
            tenant_id=f"tenant-{chance.randrange(TENANTS)}",
            event_type="api_call",
            idempotency_key=str(uuid.UUID(int=chance.getrandbits(128))),
            quantity=chance.randrange(1, 100),
            event_timestamp=NOW - timedelta(microseconds=chance.randrange(1_800_000_000)),
            properties={"region": "eu-west-1", "endpoint": "/v1/search"},
        )
        for _ in range(count)
    ]


def make_batches(work: str, size: int, batches: int) -> list[list[schemas.EventIn]]:
    """Batches whose events are new, or one in twenty of them sent in an earlier batch."""
    chance = random.Random(uuid.uuid4().int)  # noqa: S311  (a load, no secret)
    if work != "repeats":
        return [make_events(chance, size) for _ in range(batches)]
    repeated = round(size * REPEATED_SHARE)
    made = [make_events(chance, size)]
    while len(made) < batches:
        made.append(make_events(chance, size - repeated) + made[-1][:repeated])
    return made


def ingest(events: Sequence[schemas.EventIn]) -> None:
    """The service's way: durable and each once."""
    ingestion.ingest(events=events, now=NOW)


def copy_raw(events: Sequence[schemas.EventIn]) -> None:
    """The limit: COPY, with nothing looked up and nothing kept but the rows."""
    created_at = NOW.isoformat()
    lines = [
        f"{event.tenant_id}\t{event.event_type}\t{event.idempotency_key}\t{event.event_timestamp}\t{event.quantity}\t"
        f"{created_at}\t{event.source}\t{json_of(event.properties)}\n"
        for event in events
    ]
    with transaction.atomic(), connection.cursor() as cursor, cursor.copy(RAW_COPY) as copy:
        copy.write("".join(lines).encode())


def know_series() -> None:
    """As a process that has run for a while: it remembers the number of each tenant's events."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT database_id FROM metering_open_batch()")
        pairs = [(f"tenant-{number}", "api_call") for number in range(TENANTS)]
        series.resolve(pairs=pairs, database_id=cursor.fetchone()[0], now=NOW)


json_of: Callable[[object], str] = json.JSONEncoder(separators=(",", ":")).encode


def aggregate_hour() -> int:
    """The dirty hour of all tenants, recomputed; the number of its windows."""
    series_ids = list(models.Series.objects.order_by("pk").values_list("pk", flat=True)[:TENANTS])
    touch(series_ids, [DIRTY_HOUR] * len(series_ids))
    return len(series_ids)


def aggregate_late() -> int:
    """Some windows anywhere in the last month."""
    chance = random.Random(uuid.uuid4().int)  # noqa: S311
    series_ids = list(models.Series.objects.order_by("pk").values_list("pk", flat=True)[:TENANTS])
    windows = {
        (chance.choice(series_ids), FIRST_FILLED_HOUR + chance.randrange(FILLED_HOURS)) for _ in range(LATE_WINDOWS)
    }
    touch([series_id for series_id, _ in windows], [hour for _, hour in windows])
    return len(windows)


def touch(series_ids: list[int], event_hours: list[int]) -> None:
    """As a batch would that put events into these windows."""
    models.TouchedWindow.objects.create(batch_id=0, shard=0, started_at=NOW, series_ids=series_ids, hours=event_hours)


def group_hour() -> None:
    """The bare query."""
    with connection.cursor() as cursor:
        cursor.execute("SET jit = off")
        cursor.execute(GROUP_HOUR, [DIRTY_HOUR])
        cursor.fetchall()


def main() -> None:
    """Make ready, wait, work, tell."""
    work, size, batches, *rest = sys.argv[1:]
    if work == "http":
        load(rest[0], rest[1], size=int(size), batches=int(batches))
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        server = int(cursor.fetchone()[0])
    if work in ("raw", "ingest", "repeats"):
        step = copy_raw if work == "raw" else ingest
        know_series()
        made = make_batches(work, int(size), int(batches) + 2)
        step(made.pop(0))
        step(made.pop(0))
        steps: list[Callable[[], object]] = [lambda events=events: step(events) for events in made]  # type: ignore[misc]
        events = sum(map(len, made))
    else:
        prepare = {"aggregate_hour": aggregate_hour, "aggregate_late": aggregate_late}.get(work)
        run = (lambda: aggregation.aggregate_usage(now=NOW)) if prepare else group_hour
        if prepare:
            prepare()
        run()
        events = prepare() if prepare else 1
        steps = [run]
    print("warm", flush=True)
    sys.stdin.readline()
    began, cpu, server_cpu = time.perf_counter(), time.process_time(), cpu_seconds(server)
    for one in steps:
        one()
    took = time.perf_counter() - began
    print(events, took, time.process_time() - cpu, cpu_seconds(server) - server_cpu, flush=True)


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def load(url: str, secret: str, *, size: int, batches: int) -> None:
    """Send batches over HTTP from two connections; besides the usual line, the milliseconds of each request."""
    chance = random.Random(uuid.uuid4().int)  # noqa: S311
    bodies = [
        b'{"events":[' + b",".join(map(schemas.encode_event, make_events(chance, size))) + b"]}" for _ in range(batches)
    ]
    took: list[float] = []
    failures: list[str] = []
    address = urlsplit(url)

    def send(mine: list[bytes]) -> None:
        sender = http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=60)
        for body in mine:
            began = time.perf_counter()
            headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
            sender.request("POST", address.path, body, headers)
            response = sender.getresponse()
            told = response.read()
            if b'"accepted":%d,' % size not in told:
                failures.append(f"{response.status} {told[:300]!r}")
                return
            took.append(time.perf_counter() - began)

    threads = [threading.Thread(target=send, args=(bodies[place::2],)) for place in range(2)]
    print("warm", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures:
        raise SystemExit(failures[0])
    print(size * len(took), seconds, 0, 0, *(f"{one * 1000:.1f}" for one in took), flush=True)


if __name__ == "__main__":
    main()
