"""
What storing and summing events costs: ``python -m benchmarks.metering`` (``--help`` for sizes).

On a PostgreSQL that it makes, with ``fsync`` and ``synchronous_commit`` on, clients as processes, in interleaved
rounds, so that what else the machine does falls on all alike. Every figure is the median of its rounds and stands
beside its baseline of the same run: raw COPY without dedupe into a table partitioned by month with one index (tenant,
type, time) INCLUDE quantity, a bare GROUP BY, and the same endpoint with the serializers of Django REST framework
(which is kept here only). Beside each rate stand the CPU microseconds of client and server an event, which other work
on the machine does not change much.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import ledger as harness
from billing_site.embedded import ports

MILLION = 1_000_000
FILL_SLICE = 500_000
GUNICORN = ("--workers", "2", "--threads", "1", "--log-level", "warning")
RAW_SCHEMA = """
CREATE TABLE bench_event (
    tenant_id text NOT NULL, event_type text NOT NULL, idempotency_key text NOT NULL,
    event_timestamp timestamptz NOT NULL,
    quantity bigint NOT NULL,
    created_at timestamptz NOT NULL, source text NOT NULL, properties jsonb NOT NULL
) PARTITION BY RANGE (event_timestamp);
CREATE TABLE bench_event_10 PARTITION OF bench_event FOR VALUES FROM ('2026-10-01Z') TO ('2026-11-01Z');
CREATE TABLE bench_event_11 PARTITION OF bench_event FOR VALUES FROM ('2026-11-01Z') TO ('2026-12-01Z');
CREATE INDEX ON bench_event (tenant_id, event_type, event_timestamp) INCLUDE (quantity);
GRANT ALL ON bench_event TO billing_service;
SELECT metering_make_partition(month::date) FROM unnest(ARRAY['2026-10-01', '2026-11-01', '2026-12-01']) AS month;
INSERT INTO metering_series (tenant_id, event_type, created_at)
    SELECT 'tenant-' || n, 'api_call', '2026-10-01Z' FROM generate_series(0, 4999) AS n;
"""
# Events of 5,000 tenants, spread over the 720 hours before the dirty one, with keys as random as hashes are.
FILL = """
CREATE TEMP TABLE filled AS
    SELECT md5(n || ' {salt}')::uuid AS key_hash, {hour} AS event_hour, series.id AS series_id, n,
        to_timestamp(({hour})::bigint * 3600 + n %% 3600) AS event_timestamp
    FROM generate_series({first}, {last}) AS n
    JOIN metering_series AS series ON series.tenant_id = 'tenant-' || {tenant} AND series.event_type = 'api_call';
INSERT INTO metering_event_key SELECT key_hash, hashtext(n::text), 1, '2026-11-20 12:00Z', series_id, event_hour
    FROM filled ORDER BY key_hash;
INSERT INTO metering_event (
    key_hash, event_timestamp, quantity, batch_id, created_at, event_hour, series_id, void, idempotency_key, source,
    corrects, properties
) SELECT key_hash, event_timestamp, n %% 100, 1, '2026-11-20 12:00Z', event_hour, series_id, false, key_hash::text,
    'api', NULL, '{{"region": "eu-west-1", "endpoint": "/v1/search"}}' FROM filled ORDER BY event_hour, n;
"""
FILL_RAW = """
INSERT INTO bench_event
    SELECT 'tenant-' || series_id, 'api_call', key_hash::text, event_timestamp, n %% 100, '2026-11-20 12:00Z', 'api',
        '{{"region": "eu-west-1", "endpoint": "/v1/search"}}' FROM filled ORDER BY event_hour, n;
"""
BYTES = """
SELECT sum(pg_total_relation_size(inhrelid)) + pg_total_relation_size('metering_event_key')
FROM pg_inherits WHERE inhparent = 'metering_event'::regclass
"""


@dataclass(frozen=True)
class Figure:
    """Events a second, and CPU microseconds an event of the client and of its server process."""

    rate: float
    client_us: float
    server_us: float
    seconds: float


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    rounds: int
    batches: int
    late_small: int
    stored: int
    late_large: int
    large: int


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=100, help="of 1,000 events, in each measurement")
    parser.add_argument("--stored", type=float, default=5.0, help="million events stored before ingestion is measured")
    parser.add_argument("--late", type=float, nargs=2, default=(1.0, 10.0), help="millions for the late windows")
    parser.add_argument("--large", type=float, default=20.0, help="million events stored when it is measured again")
    parser.add_argument("--only", choices=("ingestion", "aggregation", "http"), help="leave the other parts out")
    options = parser.parse_args()
    plan = Plan(
        rounds=options.rounds,
        batches=options.batches,
        late_small=round(options.late[0] * MILLION),
        stored=round(options.stored * MILLION),
        late_large=round(options.late[1] * MILLION),
        large=round(options.large * MILLION),
    )
    with tempfile.TemporaryDirectory(prefix="billing-benchmark-") as name:
        Path(name).chmod(0o711)
        with harness.servers(Path(name)) as bench:
            bench.sql(RAW_SCHEMA)
            store = Store(bench)
            if options.only in (None, "ingestion", "aggregation"):
                report(store, plan, only=options.only)
            if options.only in (None, "http"):
                report_http(bench, plan)


class Store:
    """The event store of the benchmark, and how much was put into it."""

    def __init__(self, bench: harness.Bench) -> None:
        self.bench = bench
        self.filled = 0

    def fill(self, events: int, *, beside: bool = False) -> None:
        """Up to so many events, ``beside`` also in the raw table; then as tidy as autovacuum would have it."""
        while self.filled < events:
            last = min(self.filled + FILL_SLICE, events)
            harness.progress(f"filling: {last:,} of {events:,} events")
            values = {
                "salt": "filled",
                "first": self.filled,
                "last": last - 1,
                "hour": FILLED_HOUR,
                "tenant": "(hashint8(n)::bigint & 2147483647) % 5000",
            }
            self.run(FILL + (FILL_RAW if beside else ""), values)
            self.filled = last
        self.tidy()

    def fill_dirty_hour(self) -> None:
        """200,000 events in one hour, 40 in each of 5,000 windows."""
        values = {"salt": "dirty", "first": 0, "last": 199_999, "hour": str(DIRTY_HOUR), "tenant": "n % 5000"}
        self.run(FILL, values)
        self.tidy()

    def run(self, text: str, values: dict[str, object]) -> None:
        """Fill once."""
        self.bench.sql(text.format(**values).replace("%%", "%"))

    def tidy(self) -> None:
        """What upkeep does in time, done now."""
        self.bench.sql("VACUUM ANALYZE")
        self.bench.sql("CHECKPOINT")

    def measure(self, work: str, *, clients: int = 1, batches: int = 1, size: int = 1_000) -> Figure:
        """What so many clients do together."""
        command = [sys.executable, "-m", "benchmarks.metering_client", work, str(size), str(batches)]
        running = [start(command, self.bench.environment) for _ in range(clients)]
        for client in running:
            harness.read_line(client)
        for client in running:
            harness.tell(client, "go\n")
        told = [[float(figure) for figure in harness.read_line(client).split()] for client in running]
        for client in running:
            client.communicate()
        events = sum(line[0] for line in told)
        return Figure(
            rate=sum(line[0] / line[1] for line in told),
            client_us=sum(line[2] for line in told) / events * MILLION,
            server_us=sum(line[3] for line in told) / events * MILLION,
            seconds=max(line[1] for line in told),
        )


# Kept beside the client's, which cannot be imported here: that would need the app registry.
DIRTY_HOUR = 498_658
FILLED_HOUR = "498657 - 720 + n % 720"


def report(store: Store, plan: Plan, *, only: str | None) -> None:
    """Ingestion and aggregation, with as much stored as each wants."""
    late: dict[int, Figure] = {}
    if only != "ingestion":
        store.fill_dirty_hour()
        store.fill(min(plan.late_small, plan.stored), beside=True)
        late[store.filled] = median([store.measure("aggregate_late") for _ in range(plan.rounds)])
        report_hour(store, plan)
    small: dict[str, Figure] = {}
    if only != "aggregation":
        store.fill(plan.stored, beside=True)
        small = report_ingestion(store, plan)
    if only != "ingestion":
        store.fill(plan.late_large)
        late[store.filled] = median([store.measure("aggregate_late") for _ in range(plan.rounds)])
        report_late(late)
    if only != "aggregation" and plan.large > plan.stored:
        store.fill(plan.large)
        report_growth(store, plan, small)


def report_ingestion(store: Store, plan: Plan) -> dict[str, Figure]:
    """Against raw COPY, with two writers, and with events that are sent again."""
    measures: dict[str, Callable[[], Figure]] = {
        "raw COPY": partial(store.measure, "raw", batches=plan.batches),
        "ingest": partial(store.measure, "ingest", batches=plan.batches),
        "ingest, 5 % sent before": partial(store.measure, "repeats", batches=plan.batches),
        "ingest, two writers": partial(store.measure, "ingest", clients=2, batches=plan.batches),
    }
    figures = harness.interleaved(measures, plan.rounds, middle=median)
    harness.title(f"batches of 1,000, {store.filled:,} events stored: events a second; CPU us of client and server")
    for name, figure in figures.items():
        show(name, figure)
    raw, own = figures["raw COPY"], figures["ingest"]
    harness.title("ratios that were aimed at")
    harness.aim("ingest over raw COPY", own.rate / raw.rate, "at least 0.55")
    harness.aim("the same by CPU", cpu(raw) / cpu(own), "")
    harness.aim("two writers over one", figures["ingest, two writers"].rate / own.rate, "at least 1.5")
    harness.aim("5 % sent before over none", figures["ingest, 5 % sent before"].rate / own.rate, "at least 0.8")
    stored = int(store.bench.sql("SELECT count(*) FROM metering_event"))
    used = int(store.bench.sql(BYTES))
    harness.aim("bytes an event, all indexes counted", used / stored, "at most 400")
    return figures


def report_growth(store: Store, plan: Plan, small: dict[str, Figure]) -> None:
    """The same with more stored; raw COPY beside it tells what the machine did meanwhile."""
    measures: dict[str, Callable[[], Figure]] = {
        "raw COPY": partial(store.measure, "raw", batches=plan.batches),
        "ingest": partial(store.measure, "ingest", batches=plan.batches),
    }
    large = harness.interleaved(measures, plan.rounds, middle=median)
    harness.title(f"the same with {store.filled:,} events stored")
    for name, figure in large.items():
        show(name, figure)
    own = large["ingest"].rate / small["ingest"].rate
    raw = large["raw COPY"].rate / small["raw COPY"].rate
    harness.aim("ingest over what it was", own, "at least 0.85")
    harness.aim("the same, with the machine as fast as then", own / raw, "")
    harness.aim("the same by CPU", cpu(small["ingest"]) / cpu(large["ingest"]), "")


def report_hour(store: Store, plan: Plan) -> None:
    """An hour of all tenants, against the query that only sums it."""
    figures = harness.interleaved(
        {"GROUP BY": partial(store.measure, "group_hour"), "aggregate": partial(store.measure, "aggregate_hour")},
        plan.rounds,
        middle=median,
    )
    harness.title("5,000 windows with 200,000 events of one hour: milliseconds")
    for name, figure in figures.items():
        print(f"{name:<52} {figure.seconds * 1000:>10,.0f}")
    ratio = figures["aggregate"].seconds / figures["GROUP BY"].seconds
    harness.aim("a dirty hour of all tenants over its GROUP BY", ratio, "at most 1.5")


def report_late(late: dict[int, Figure]) -> None:
    """Whether late windows cost more with more stored."""
    harness.title("500 random late windows: milliseconds")
    for stored, figure in late.items():
        print(f"{f'{stored:,} events stored':<52} {figure.seconds * 1000:>10,.0f}")
    (first, *_, last) = late.values()
    harness.aim("late windows with the most stored over the least", last.seconds / first.seconds, "at most 1.5")


def report_http(bench: harness.Bench, plan: Plan) -> None:
    """The endpoint end to end, against the same with serializers."""
    made = json.loads(
        harness.run(
            [sys.executable, "manage.py", "create_api_key", "load", "--scope", "events:write", "--json"],
            environment=bench.environment,
        )
    )
    with served(bench, "billing_site.wsgi") as own, served(bench, "benchmarks.metering_plain:application") as plain:
        rates: dict[str, list[float]] = {"msgspec, plain view": [], "serializers": []}
        took: dict[str, list[float]] = {name: [] for name in rates}
        for turn in range(plan.rounds):
            for name, url in (("msgspec, plain view", own), ("serializers", plain)):
                harness.progress(f"http: round {turn + 1} of {plan.rounds}: {name}")
                line = request(bench, url, made["api_key"], plan.batches)
                rates[name].append(line[0] / line[1])
                took[name] += line[4:]
    harness.progress("")
    harness.title(
        "POST /v1/events, gunicorn with 2 workers, 1,000 events a request: events a second; p50 and p99 in ms"
    )
    for name, figures in rates.items():
        tail = statistics.quantiles(took[name], n=100)
        harness.row(name, statistics.median(figures), f"{tail[49]:6.1f}", f"{tail[98]:6.1f}")
    ratio = statistics.median(rates["msgspec, plain view"]) / statistics.median(rates["serializers"])
    harness.aim("over the version with serializers", ratio, "at least 2")


def request(bench: harness.Bench, url: str, secret: str, batches: int) -> list[float]:
    """One client with two connections sends its batches."""
    command = [sys.executable, "-m", "benchmarks.metering_client", "http", "1000", str(batches), url, secret]
    client = start(command, bench.environment)
    harness.read_line(client)
    harness.tell(client, "go\n")
    line = [float(figure) for figure in harness.read_line(client).split()]
    client.communicate()
    return line


@contextmanager
def served(bench: harness.Bench, application: str) -> Iterator[str]:
    """The address of the endpoint, served by gunicorn."""
    address = f"127.0.0.1:{ports.find_free()}"
    program = [sys.executable, "-m", "gunicorn", application, "--bind", address, *GUNICORN]
    environment = {**bench.environment, "ALLOWED_HOSTS": "127.0.0.1", "HTTPS": "false"}
    server = subprocess.Popen(program, cwd=harness.ROOT, env=environment)
    try:
        wait_for(f"http://{address}/healthz")
        yield f"http://{address}/v1/events"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(url: str) -> None:
    """Until it answers, whatever it says."""
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310  (our own server)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"{url} does not answer")


def median(figures: list[Figure]) -> Figure:
    """Of each number by itself."""
    return Figure(
        rate=statistics.median(figure.rate for figure in figures),
        client_us=statistics.median(figure.client_us for figure in figures),
        server_us=statistics.median(figure.server_us for figure in figures),
        seconds=statistics.median(figure.seconds for figure in figures),
    )


def cpu(figure: Figure) -> float:
    """Of client and server together."""
    return figure.client_us + figure.server_us


def show(name: str, figure: Figure) -> None:
    """A rate and what it costs."""
    harness.row(name, figure.rate, f"{figure.client_us:6.1f}", f"{figure.server_us:6.1f}")


def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """A client with pipes to talk through."""
    return subprocess.Popen(
        command,
        cwd=harness.ROOT,
        env={**environment, "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", "")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


if __name__ == "__main__":
    main()
