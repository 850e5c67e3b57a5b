"""
What reading usage costs with 10 million events stored: ``python -m benchmarks.usage`` (``--help`` for sizes).

On a PostgreSQL that it makes, gateway requests of a month are written, a few tenants having most of them, and
aggregated as the service does. Then usage is read as the API reads it, for the largest tenant and for tenants drawn
evenly, and the same figures from raw events, without and with a partial index: what the roll-up saves, and costs.

Reads are told in milliseconds of SQL, by the clock and of the backend's processor time, which other work on the machine
changes little.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.ledger import ROOT, Bench, progress, servers, title
from billing_site.embedded import postgres

START = datetime(2026, 10, 1, tzinfo=UTC)
END = datetime(2026, 11, 1, tzinfo=UTC)
HOURS = 31 * 24
FIRST_HOUR = int(START.timestamp()) // 3600
CHUNK = 500_000
GOALS = {"hour": 10, "month": 50}
HELD = {True: "held", False: "MISSED"}
COLUMNS = "by the clock: p50, p95, most, the largest tenant; of the processor: the same"
ERRORS = "(properties ->> 'status_code') ~ '^[45][0-9][0-9]$'"

# Requests of a month in time order, as they would have come. A tenant's share falls with the cube of a random number:
# with 500 tenants the largest has an eighth of all requests.
FILL = """
    INSERT INTO metering_event (
        key_hash, event_timestamp, quantity, batch_id, created_at, event_hour, series_id, void, idempotency_key, source,
        properties
    )
    SELECT
        gen_random_uuid(), at, 1 + n % 3, n / 1000, at, {first_hour} + n * {hours} / {events},
        1 + floor(power(random(), 3) * {tenants})::int, false, 'request-' || n, 'gateway',
        jsonb_build_object(
            'billable', true, 'endpoint', '/v1/resource-' || floor(power(random(), 2) * 40)::int,
            'api_key_id', 'key-' || floor(random() * 20)::int, 'method', 'GET',
            'status_code', (ARRAY[200, 200, 200, 200, 200, 200, 200, 201, 404, 503])[1 + floor(random() * 10)::int],
            'response_time_ms', floor(random() * 400)::int
        )
    FROM generate_series({low}::bigint, {high}::bigint) AS n
    CROSS JOIN LATERAL (
        SELECT to_timestamp((({first_hour} + n * {hours} / {events}) * 3600)::double precision)
            + interval '1 hour' * random() AS at
    ) AS placed
"""
TOUCH = """
    INSERT INTO metering_touched_window (batch_id, shard, started_at, series_ids, hours)
    SELECT 0, 0, now(), array_agg(series_id), array_agg(event_hour)
    FROM (SELECT DISTINCT series_id, event_hour FROM metering_event) AS window_
    GROUP BY event_hour
"""
# The same figures from raw events.
OF_SERIES = "FROM metering_event WHERE series_id = %(series)s AND event_hour >= %(first)s AND event_hour < %(end)s"
RAW_ERRORS = f"""
    SELECT whole.event_hour, whole.requests, coalesce(failed.client_errors, 0), coalesce(failed.server_errors, 0)
    FROM (SELECT event_hour, count(*) AS requests {OF_SERIES} GROUP BY event_hour) AS whole
    LEFT JOIN (
        SELECT
            event_hour,
            count(*) FILTER (WHERE properties ->> 'status_code' LIKE '4%%') AS client_errors,
            count(*) FILTER (WHERE properties ->> 'status_code' LIKE '5%%') AS server_errors
        {OF_SERIES} AND {ERRORS}
        GROUP BY event_hour
    ) AS failed USING (event_hour)
    ORDER BY whole.event_hour
"""
RAW_TOP = f"""
    SELECT
        properties ->> 'endpoint', count(*), avg((properties ->> 'response_time_ms')::numeric),
        count(*) FILTER (WHERE properties ->> 'status_code' LIKE '4%%'),
        count(*) FILTER (WHERE properties ->> 'status_code' LIKE '5%%')
    {OF_SERIES}
    GROUP BY 1 ORDER BY 2 DESC LIMIT 20
"""


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--tenants", type=int, default=500)
    parser.add_argument("--reads", type=int, default=200, help="of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="billing-benchmark-") as name:
        Path(name).chmod(0o711)
        with (
            servers(Path(name)) as bench,
            psycopg.connect(bench.url(postgres.SUPERUSER), autocommit=True) as connection,
        ):
            fill(connection, events=options.events, tenants=options.tenants)
            aggregate(bench, connection)
            report(bench, connection, reads=options.reads)


def fill(connection: psycopg.Connection, *, events: int, tenants: int) -> None:
    """Store the events, without their keys, which no read looks at."""
    began = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SELECT metering_make_partition(%s)", [START.date()])
        cursor.execute(
            "INSERT INTO metering_series (tenant_id, event_type, created_at)"
            " SELECT 'tenant-' || n, 'api.request', now() FROM generate_series(1, %s) AS n",
            [tenants],
        )
        for low in range(0, events, CHUNK):
            values = {"low": low, "high": min(low + CHUNK, events) - 1, "events": events, "tenants": tenants}
            cursor.execute(FILL.format(first_hour=FIRST_HOUR, hours=HOURS, **values).encode())
            progress(f"{low + CHUNK:,} of {events:,} events")
        cursor.execute("VACUUM ANALYZE metering_event")
        cursor.execute(TOUCH)
    progress("")
    print(f"{events:,} requests of {tenants} tenants stored in {time.perf_counter() - began:,.0f} s")


def aggregate(bench: Bench, connection: psycopg.Connection) -> None:
    """All of it, by the command."""
    began = time.perf_counter()
    told = ask(bench, ["manage.py", "aggregate_usage", "--json"], "")
    connection.execute("VACUUM ANALYZE metering_usage_summary, metering_request_summary")
    print(f"aggregated in {time.perf_counter() - began:,.0f} s: {json.dumps(told)}")


def report(bench: Bench, connection: psycopg.Connection, *, reads: int) -> None:
    """All measurements."""
    counts: dict[int, int] = dict(
        connection.execute("SELECT series_id, count(*) FROM metering_event GROUP BY series_id").fetchall()
    )
    largest = max(counts, key=counts.__getitem__)
    events = sum(counts.values())
    tenants = [f"tenant-{series}" for series in sorted(counts)]
    print(
        f"the largest tenant has {counts[largest]:,} requests, the median one {statistics.median(counts.values()):,.0f}"
    )
    client = [sys.executable, "-m", "benchmarks.usage_client"]
    job = {"start": START.isoformat(), "end": END.isoformat(), "largest": f"tenant-{largest}", "tenants": tenants}
    taken = ask(bench, client, json.dumps(job | {"work": "reads", "count": reads}))
    title(f"milliseconds of SQL {COLUMNS}; goal for p95")
    for name, figures in taken.items():
        goal = GOALS["hour" if name.startswith(("usage of a day", "requests of a day")) else "month"]
        by_clock, of_processor = (p95(one) <= goal for one in zip(*figures, strict=True))
        told(name, figures, f"{goal} ms: by the clock {HELD[by_clock]}, of the processor {HELD[of_processor]}")

    title(f"the same from raw events {COLUMNS}")
    sample = [largest, *sorted(counts)[:: max(1, len(counts) // 40)]]
    raw(connection, "error rates of a day", RAW_ERRORS, sample, hours=24)
    raw(connection, "error rates of the month", RAW_ERRORS, sample, hours=HOURS)
    raw(connection, "top endpoints of the month", RAW_TOP, sample, hours=HOURS)
    connection.execute(f"CREATE INDEX failed ON metering_event (event_hour, series_id) WHERE {ERRORS}".encode())
    connection.execute(
        b"CREATE INDEX by_endpoint ON metering_event (series_id, (properties ->> 'endpoint'), event_hour)"
    )
    connection.execute("VACUUM ANALYZE metering_event")
    raw(connection, "error rates of a day, partial index", RAW_ERRORS, sample, hours=24)
    raw(connection, "error rates of the month, partial index", RAW_ERRORS, sample, hours=HOURS)
    raw(connection, "top endpoints of the month, expression index", RAW_TOP, sample, hours=HOURS)

    title("bytes an event")
    for name, size in sizes(connection).items():
        print(f"{name:<52} {size / events:>10.1f}")
    title("the roll-up's work on the newest hour of all tenants, processor seconds of the backend")
    hour = FIRST_HOUR + HOURS - 1
    found = connection.execute(
        "SELECT series_id, count(*) FROM metering_event WHERE event_hour = %s GROUP BY series_id", [hour]
    ).fetchall()
    for label, prepare in (("written anew", WIPE), ("found unchanged", "SELECT 1")):
        connection.execute(prepare.encode())
        windows = [(series, hour) for series, _ in found]
        cost = ask(bench, client, json.dumps(job | {"work": "recompute", "windows": windows}))
        requests = sum(count for _, count in found)
        print(
            f"{label}: {len(found)} windows, {requests:,} requests, {cost['changed']:,} rows: {cost['cpu']:.2f} s,"
            f" {cost['cpu'] / requests * 1e6:.1f} us a request ({cost['seconds']:.2f} s of time)"
        )


WIPE = f"DELETE FROM metering_request_summary WHERE period_start = to_timestamp({(FIRST_HOUR + HOURS - 1) * 3600})"


def raw(connection: psycopg.Connection, name: str, statement: str, series: Sequence[int], *, hours: int) -> None:
    """One read from raw events, for each of these tenants; once before it is timed, so that all is warm."""
    end = FIRST_HOUR + HOURS
    taken: list[tuple[float, float]] = []
    pid = connection.info.backend_pid
    for one in series:
        values = {"series": one, "first": end - hours, "end": end}
        connection.execute(statement.encode(), values).fetchall()
        before, began = cpu_of(pid), time.perf_counter()
        connection.execute(statement.encode(), values).fetchall()
        taken.append(((time.perf_counter() - began) * 1000, (cpu_of(pid) - before) * 1000))
    told(name, taken, "")


def cpu_of(pid: int) -> float:
    """Processor seconds that a process has used."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def sizes(connection: psycopg.Connection) -> dict[str, int]:
    """What the ways to these figures take on disk."""
    measured = {
        "events with their index": "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('metering_event')",
        "the request roll-up with its index": "SELECT pg_total_relation_size('metering_request_summary')",
        "a partial index of failed requests": "SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('failed')",
        "an expression index by endpoint": "SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('by_endpoint')",
    }
    return {name: int(connection.execute(query).fetchone()[0]) for name, query in measured.items()}  # type: ignore[index]


def ask(bench: Bench, program: list[str], question: str) -> Any:
    """Start a program of the service; what its last line says."""
    command = program if program[0] == sys.executable else [sys.executable, *program]
    ended = subprocess.run(
        command, cwd=ROOT, env=bench.environment, input=question, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"{command}: {ended.stdout}{ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1])


def told(name: str, figures: Sequence[tuple[float, float]], goal: str) -> None:
    """One line; the first figure is the largest tenant's."""
    columns = [
        f"{statistics.median(one):>7.2f} {p95(one):>7.2f} {max(one):>7.2f} {one[0]:>7.2f}"
        for one in ([clock for clock, _ in figures], [cpu for _, cpu in figures])
    ]
    print(f"{name:<46} {' | '.join(columns)}  {goal}")


def p95(figures: Sequence[float]) -> float:
    """What 95 of 100 do not exceed."""
    return sorted(figures)[min(len(figures) - 1, round(0.95 * len(figures)))]


if __name__ == "__main__":
    main()
