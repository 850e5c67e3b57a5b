"""The request roll-up is what its events add up to, on every level, whatever came in whatever order."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering import aggregation, gateway, hours, models, request_rollup, requests, schemas, usage
from tests.factories import metering as factories

NOW = factories.NOW
HOUR = datetime(2026, 11, 20, 12, tzinfo=UTC)


def request(**values: Any) -> Any:
    properties = {"endpoint": "/v1/search", "api_key_id": "k1", "status_code": 200, "response_time_ms": 20}
    names = ("quantity", "event_timestamp", "tenant_id", "idempotency_key", "corrects", "void")
    fields = {name: values.pop(name) for name in names if name in values}
    return factories.EventInFactory.build(
        event_type=requests.EVENT_TYPE, properties=properties | values, **({"event_timestamp": HOUR} | fields)
    )


def aggregate() -> None:
    aggregation.aggregate_usage(now=NOW)


def figures(granularity: str = "hour") -> models.RequestSummary:
    return models.RequestSummary.objects.get(granularity=granularity)


def names(granularity: str = "hour") -> dict[str, int]:
    found = figures(granularity)
    return dict(zip(found.endpoint_names, found.endpoint_requests, strict=True))


@pytest.mark.django_db
class TestRecompute:
    def test_sums_an_hour_of_requests(self) -> None:
        factories.ingest(
            request(quantity=5),
            request(status_code=301, endpoint="/v1/users", response_time_ms=10.5),
            request(status_code=404, api_key_id="k2", response_time_ms=None),
            request(status_code=503, quantity=0, billable=False),
        )
        aggregate()
        found = figures()
        assert (found.tenant_id, found.period_start, found.computed_at) == ("acme-corp", HOUR, NOW)
        assert [found.requests, found.billable_requests, found.units] == [4, 3, 7]
        assert (found.response_time_ms, found.timed_requests) == (Decimal("50.5"), 3)
        assert (found.successes, found.client_errors, found.server_errors) == (2, 1, 1)
        assert (found.endpoints, found.api_keys) == (2, 2)

    def test_tells_endpoints_and_api_keys_apart(self) -> None:
        factories.ingest(
            request(endpoint="/a", api_key_id="k1", status_code=500),
            request(endpoint="/a", api_key_id="k2"),
            request(endpoint="/b", api_key_id="k1"),
        )
        aggregate()
        assert names() == {"/a": 2, "/b": 1}
        assert figures().api_key_ids == ["k1", "k2"]
        assert figures().endpoint_server_errors == [1, 0]
        assert figures().endpoint_response_time_ms == [40, 20]

    @pytest.mark.parametrize("granularity", ["day", "month"])
    def test_counts_different_ones_again_and_never_adds_them(self, granularity: str) -> None:
        for ago in range(5):
            factories.ingest(
                request(event_timestamp=HOUR - timedelta(hours=ago), endpoint="/a"),
                request(event_timestamp=HOUR - timedelta(hours=ago), endpoint=f"/{ago}", api_key_id=f"k{ago}"),
            )
            aggregate()
        found = figures(granularity)
        assert (found.requests, found.endpoints, found.api_keys) == (10, 6, 5)
        assert names(granularity)["/a"] == 5

    def test_keeps_tenants_apart_and_passes_other_types_over(self) -> None:
        factories.ingest(request(), request(tenant_id="other"), factories.EventInFactory.build())
        aggregate()
        rows = models.RequestSummary.objects.filter(granularity="hour")
        assert dict(rows.values_list("tenant_id", "requests")) == {"acme-corp": 1, "other": 1}

    def test_leaves_rows_that_are_right_as_they_are(self) -> None:
        factories.ingest(request())
        aggregate()
        window = (models.Series.objects.get().pk, hours.hour_of(HOUR))
        assert requests.recompute(windows=[window], now=NOW + timedelta(days=1)) == 0
        assert figures().computed_at == NOW

    def test_says_the_same_as_the_meter(self) -> None:
        factories.ingest(request(quantity=5), request(quantity=0, billable=False), request(quantity=2))
        aggregate()
        summary = models.UsageSummary.objects.get(granularity="hour")
        assert summary.total == figures().units

    def test_leaves_what_is_not_billable_out_of_every_meter(self) -> None:
        meter = {"event_type": requests.EVENT_TYPE, "aggregation": "count", "created_at": NOW}
        models.Meter.objects.create(code="request_count", **meter)
        factories.ingest(
            *(
                request(billable=billable, event_timestamp=HOUR + timedelta(minutes=minute))
                for billable in (True, False)
                for minute in (0, 10, 40)
            )
        )
        aggregate()
        for minutes, count in ((60, 3), (30, 2)):
            found = usage.totals(
                tenant_id="acme-corp",
                meters=["request_count"],
                period_start=HOUR,
                period_end=HOUR + timedelta(minutes=minutes),
            )
            assert found["request_count"].quantity == count

    def test_counts_an_amended_quantity_in_the_original(self) -> None:
        factories.ingest(request(idempotency_key="r1", quantity=5), request())
        aggregate()
        factories.ingest(request(corrects="r1", quantity=2, event_timestamp=NOW - timedelta(days=2)))
        aggregate()
        assert [figures().requests, figures().units] == [2, 3]
        assert [figures("month").requests, figures("month").units] == [2, 3]

    def test_counts_the_latest_of_many_amendments(self) -> None:
        factories.ingest(*(request(idempotency_key=f"r{place}", quantity=1) for place in range(50)))
        for turn in (2, 7, 3):
            now = NOW + timedelta(minutes=turn)
            corrections = [request(corrects=f"r{place}", quantity=turn) for place in range(40)]
            factories.ingest(*corrections, now=now)
        aggregate()
        assert [figures().requests, figures().units] == [50, 40 * 7 + 10]
        end = HOUR + timedelta(minutes=30)
        edge = requests.get_totals(tenant_id="acme-corp", period_start=HOUR, period_end=end)
        assert (edge.requests, edge.units) == (50, 40 * 7 + 10)

    def test_takes_a_voided_request_out_with_its_endpoint(self) -> None:
        factories.ingest(request(idempotency_key="r1", endpoint="/gone"), request())
        aggregate()
        assert names("month") == {"/gone": 1, "/v1/search": 1}
        factories.ingest(request(corrects="r1", void=True, quantity=0))
        aggregate()
        for granularity in ("hour", "day", "month"):
            assert names(granularity) == {"/v1/search": 1}
            assert (figures(granularity).requests, figures(granularity).endpoints) == (1, 1)

    def test_drops_a_window_that_has_no_request_left(self) -> None:
        factories.ingest(request(idempotency_key="r1"))
        aggregate()
        factories.ingest(request(corrects="r1", void=True, quantity=0))
        aggregate()
        assert not models.RequestSummary.objects.exists()

    def test_takes_properties_as_a_sender_may_send_them(self) -> None:
        odd: list[dict[str, Any]] = [
            {"status_code": "200", "response_time_ms": "12"},  # texts, as from a file
            {"status_code": 600, "response_time_ms": -5},
            {"status_code": "nonsense", "response_time_ms": "1e9999"},
            {"status_code": [404], "response_time_ms": {"a": 1}},
            {"status_code": 10**30, "response_time_ms": 10**300},
            {"status_code": None, "response_time_ms": None},
            {"status_code": True, "response_time_ms": 1e-300},
            {"endpoint": "x" * 3000, "api_key_id": 5},
            {"endpoint": {"a": 1}, "api_key_id": None},
            {"endpoint": "", "api_key_id": ""},
        ]
        factories.ingest(*(request(**one) for one in odd))
        aggregate()
        found = figures()
        assert not models.QuarantinedWindow.objects.exists()
        assert (found.requests, found.successes, found.client_errors) == (10, 4, 0)
        assert found.response_time_ms == Decimal(12 + 3 * 20)
        assert {name[:255]: count for name, count in names().items()} == {
            "/v1/search": 7,
            "x" * 255: 1,
            '{"a": 1}': 1,
            "": 1,
        }
        assert (found.api_key_ids, found.api_keys) == (["5", "k1"], 2)

    def test_keeps_the_busiest_names_and_every_sum(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(requests, "MAX_NAMES", 2)
        for ago in range(2):
            at = HOUR - timedelta(hours=ago)
            factories.ingest(
                *(request(endpoint=f"/{name}", event_timestamp=at, quantity=3) for name in "aaabbcde"),
                request(endpoint="", event_timestamp=at),
            )
        aggregate()
        hour = models.RequestSummary.objects.filter(granularity="hour")
        assert {(row.endpoints, tuple(row.endpoint_names)) for row in hour} == {(5, ("", "/a", "/b"))}
        for granularity, times in (("day", 2), ("month", 2)):
            assert names(granularity) == {"/a": 3 * times, "/b": 2 * times, "": 4 * times}
            assert [figures(granularity).requests, figures(granularity).units] == [9 * times, 25 * times]

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.lists(
                st.tuples(
                    st.sampled_from("ab"),
                    st.integers(0, 24 * 40),
                    st.sampled_from(["/x", "/y", "/z"]),
                    st.sampled_from(["k1", "k2"]),
                    st.sampled_from([200, 302, 404, 500]),
                    st.integers(0, 10**6),
                    st.booleans(),
                    st.integers(0, 10**15),
                ),
                max_size=8,
            ),
            max_size=4,
        )
    )
    def test_adds_up_whatever_comes_in_whatever_batches(self, sent: list[list[tuple[Any, ...]]]) -> None:
        tenants = {name: f"{name}-{models.Series.objects.count()}" for name in "ab"}
        expected: dict[tuple[Any, ...], Counter[str]] = {}
        endpoints: dict[tuple[Any, ...], Counter[str]] = {}
        keys: dict[tuple[Any, ...], set[str]] = {}
        for batch in sent:
            events = []
            for name, ago, endpoint, key, status, took, billable, weight in batch:
                tenant, at = tenants[name], HOUR - timedelta(hours=ago)
                sent_properties = {"endpoint": endpoint, "api_key_id": key, "status_code": status, "billable": billable}
                events.append(
                    request(
                        tenant_id=tenant, event_timestamp=at, response_time_ms=took, quantity=weight, **sent_properties
                    )
                )
                day = at.replace(hour=0)
                for window in ((tenant, "hour", at), (tenant, "day", day), (tenant, "month", day.replace(day=1))):
                    expected.setdefault(window, Counter()).update(
                        requests=1,
                        billable=int(billable),
                        units=weight * billable,
                        took=took,
                        good=int(status < 400),
                        client=int(status == 404),
                        server=int(status == 500),
                    )
                    endpoints.setdefault(window, Counter()).update([endpoint])
                    keys.setdefault(window, set()).add(key)
            factories.ingest(*events)
            aggregate()
        found = {
            (row.tenant_id, row.granularity, row.period_start): row
            for row in models.RequestSummary.objects.filter(tenant_id__in=tenants.values())
        }
        assert {window: self.counted(row) for window, row in found.items()} == {
            window: tuple(
                counts[name] for name in ("requests", "billable", "units", "took", "good", "client", "server")
            )
            for window, counts in expected.items()
        }
        for window, row in found.items():
            assert dict(zip(row.endpoint_names, row.endpoint_requests, strict=True)) == endpoints[window]
            assert set(row.api_key_ids) == keys[window]
            assert (row.endpoints, row.api_keys) == (len(endpoints[window]), len(keys[window]))
            assert sum(row.endpoint_response_time_ms) == row.response_time_ms
            assert sum(row.endpoint_client_errors) == row.client_errors

    def counted(self, row: models.RequestSummary) -> tuple[int, ...]:
        assert row.timed_requests == row.requests
        return (
            row.requests,
            row.billable_requests,
            int(row.units),
            int(row.response_time_ms),
            row.successes,
            row.client_errors,
            row.server_errors,
        )


class TestCost:
    """What a recompute and a read cost follows what was touched and asked for, not what is stored."""

    def test_reads_touched_windows_by_the_index(self, committed_db: str, superuser_cursor: psycopg.Cursor) -> None:
        first = self.store(superuser_cursor)
        tenants = {series.pk: series.tenant_id for series in models.Series.objects.all()}
        windows = [(pk, first + 4 * place) for place, pk in enumerate(sorted(tenants))]
        values = {
            "tenant_ids": [tenants[pk] for pk, _ in windows],
            "series_ids": [pk for pk, _ in windows],
            "hours": [hour for _, hour in windows],
            "first_hour": min(hour for _, hour in windows),
            "last_hour": max(hour for _, hour in windows),
            "max_names": requests.MAX_NAMES,
            "now": NOW,
        }
        scans = scans_of(request_rollup.RECOMPUTE[0], values, "metering_event_2")
        assert scans
        assert "Seq Scan" not in {node["Node Type"] for node in scans}
        assert sum(node["Actual Rows"] * node["Actual Loops"] for node in scans) == len(windows) * 10

    def test_reads_a_month_from_rows_of_the_month(self, committed_db: str, superuser_cursor: psycopg.Cursor) -> None:
        self.store(superuser_cursor)
        for start in range(1, 51):
            factories.ingest(request(tenant_id=f"t{start}", event_timestamp=HOUR))
        aggregate()
        with CaptureQueriesContext(connection) as queries:
            totals = requests.get_totals(
                tenant_id="t1",
                period_start=datetime(2026, 11, 1, tzinfo=UTC),
                period_end=datetime(2026, 12, 1, tzinfo=UTC),
            )
        assert (totals.requests, len(queries)) == (1, 1)
        values = {
            "tenant_id": "t1",
            "granularities": ["month"],
            "starts": [datetime(2026, 11, 1, tzinfo=UTC)],
            "ends": [datetime(2026, 12, 1, tzinfo=UTC)],
            "after_requests": None,
            "after_name": None,
            "limit": 21,
            "is_rolled_up": False,
            "codes": [],
        }
        superuser_cursor.execute("ANALYZE metering_request_summary")
        scans = scans_of(requests.LIST_ENDPOINTS, values, "metering_request_summary")
        assert {node["Node Type"] for node in scans} <= {"Index Scan", "Bitmap Heap Scan"}
        assert sum(node["Actual Rows"] for node in scans) == 1

    def store(self, cursor: psycopg.Cursor) -> int:
        """Ten requests in each of 240 hours of 50 tenants; the first hour."""
        first = hours.hour_of(datetime(2026, 11, 2, tzinfo=UTC))
        cursor.execute("SELECT metering_make_partition('2026-11-01')")
        cursor.execute(
            "INSERT INTO metering_series (tenant_id, event_type, created_at)"
            " SELECT 't' || n, 'api.request', now() FROM generate_series(1, 50) AS n"
        )
        cursor.execute(
            """
            INSERT INTO metering_event (
                key_hash, event_timestamp, quantity, batch_id, created_at, event_hour, series_id, void,
                idempotency_key, source, properties
            )
            SELECT gen_random_uuid(), to_timestamp(hour::bigint * 3600), 1, 1, now(), hour, series.id, false, 'k',
                'api', '{"endpoint": "/v1/search", "status_code": 200, "response_time_ms": 10, "api_key_id": "k1"}'
            FROM generate_series(%(first)s, %(first)s + 239) AS hour, metering_series AS series, generate_series(1, 10)
            """,
            {"first": first},
        )
        cursor.execute("VACUUM ANALYZE metering_event")
        cursor.execute("ANALYZE metering_series")
        return first


@pytest.mark.django_db
class TestGetTotals:
    def test_cuts_the_hours_at_the_edges(self) -> None:
        edge = HOUR + timedelta(minutes=30)
        tick = timedelta(microseconds=1)
        for place, at in enumerate((HOUR - tick, HOUR, edge - tick, edge, HOUR + timedelta(hours=1))):
            factories.ingest(request(event_timestamp=at - timedelta(days=1), quantity=10**place))
        aggregate()
        day = timedelta(days=1)
        assert self.units(HOUR - day, edge - day) == 110
        assert self.units(edge - day, HOUR + timedelta(hours=2) - day) == 11000
        assert self.units(edge - tick - day, edge - day) == 100
        assert self.units(HOUR - timedelta(minutes=30) - day, edge - day) == 111
        assert self.units(edge - day, edge - day) == 0
        assert self.units(edge, HOUR) == 0

    def test_answers_the_average_over_requests_that_told_a_time(self) -> None:
        factories.ingest(request(response_time_ms=10), request(response_time_ms=15.5), request(response_time_ms=None))
        aggregate()
        found = requests.get_totals(tenant_id="acme-corp", period_start=HOUR, period_end=HOUR + timedelta(hours=1))
        assert found.average_response_time_ms == Decimal("12.750")
        nothing = requests.get_totals(tenant_id="nobody", period_start=HOUR, period_end=HOUR + timedelta(hours=1))
        assert (nothing.requests, nothing.average_response_time_ms) == (0, None)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, 80 * 24 * 2), st.integers(0, 80 * 24 * 2))
    def test_reads_months_days_and_hours_as_one(self, first: int, second: int) -> None:
        start = datetime(2026, 9, 1, tzinfo=UTC)
        every = timedelta(minutes=30)
        if not models.RequestSummary.objects.exists():
            factories.ingest(
                *(request(event_timestamp=start + every * place, quantity=place) for place in range(0, 80 * 48, 5))
            )
            aggregate()
        low, high = sorted((first, second))
        expected = [place for place in range(0, 80 * 48, 5) if low <= place < high]
        found = requests.get_totals(
            tenant_id="acme-corp", period_start=start + every * low, period_end=start + every * high
        )
        assert (found.requests, found.units) == (len(expected), sum(expected))

    def units(self, start: datetime, end: datetime) -> int:
        return requests.get_totals(tenant_id="acme-corp", period_start=start, period_end=end).units


def scans_of(statement: str, values: dict[str, Any], table: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, values)
        (explained,) = cursor.fetchone()
    plan = (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]
    return [node for node in nodes(plan) if node.get("Relation Name", "").startswith(table)]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


class TestBrokenText:
    def test_a_record_with_half_a_character_is_its_tenants_and_stays_a_record(self) -> None:
        text = rb'{"request_id": "r-1", "organization_id": "acme", "endpoint": "/\udfff"}'
        refusal = gateway.decode_record(text)
        assert isinstance(refusal, schemas.Refusal)
        assert (refusal.code, refusal.tenant_id) == ("invalid_text", "acme")
        assert gateway.is_record(text)
