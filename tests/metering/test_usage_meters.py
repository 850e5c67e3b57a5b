"""Usage of meters that were made: whatever the summaries, the splits and the corrections, what the events say."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering import aggregation, errors, figures, models, schemas, usage, usage_rows
from tests.factories import metering as factories
from tests.factories.kernel import client

pytestmark = pytest.mark.django_db
FIRST = datetime(2026, 10, 30, tzinfo=UTC)  # a month turns inside the days of the tests
MINUTES = 4 * 24 * 60
NOW = FIRST + timedelta(days=5)
KINDS = ["sum", "count", "max", "average", "unique_count", "latest"]
_tenants = itertools.count(1)
_keys = itertools.count(1)


@dataclass(frozen=True)
class Sent:
    """An event as its corrections left it; ``quantity`` None: voided."""

    minute: int
    quantity: int | None
    properties: dict[str, Any]
    key: str

    @property
    def at(self) -> datetime:
        return FIRST + timedelta(minutes=self.minute)


PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "region": st.sampled_from(["eu", "us"]),
        "size": st.one_of(st.integers(0, 9), st.sampled_from(["7", -1, 1.5, None, 10**16])),
        "user": st.sampled_from(["ann", "bob", 7, True, None]),
    },
)
EVENTS = st.lists(
    st.tuples(
        st.integers(0, MINUTES - 1), st.integers(0, 9), PROPERTIES, st.sampled_from([None, None, None, "void", 5])
    ),
    min_size=1,
    max_size=25,
)


def send(tenant_id: str, events: Sequence[tuple[int, int, dict[str, Any], Any]]) -> list[Sent]:
    """Sent and corrected; each with the quantity that it has in the end."""
    sent, batch = [], []
    for minute, quantity, properties, correction in events:
        key = f"k{next(_keys):06}"
        one = Sent(minute, {None: quantity, "void": None}.get(correction, correction), properties, key)
        event = schemas.EventIn(
            tenant_id=tenant_id,
            event_type="api_call",
            quantity=quantity,
            idempotency_key=key,
            event_timestamp=one.at,
            properties=properties,
        )
        batch.append(event)
        sent.append(one)
        if correction is not None:
            batch.append(
                schemas.EventIn(
                    tenant_id=tenant_id,
                    event_type="api_call",
                    idempotency_key=f"c{key}",
                    event_timestamp=NOW,
                    corrects=key,
                    quantity=one.quantity or 0,
                    void=one.quantity is None,
                )
            )
    report = factories.ingest(*batch, now=NOW, allow_backfill=True)
    assert report.accepted == len(batch), report
    return sent


def expected(meter: models.Meter, sent: Sequence[Sent], start: datetime, end: datetime) -> Any:
    """What a meter says of a stretch, by the book."""
    inside = [
        one
        for one in sent
        if one.quantity is not None
        and start <= one.at < end
        and all(one.properties.get(name) in accepted for name, accepted in meter.filters.items())
    ]
    if meter.aggregation == "unique_count":
        said = [one.properties.get(meter.property) for one in inside]
        return len({str(value).lower() for value in said if isinstance(value, str | int | float)})
    values = [(one.minute, one.properties.get(meter.property, "")) for one in inside]
    if meter.property == "":
        values = [(one.minute, one.quantity) for one in inside]
    counted = [(minute, value) for minute, value in values if _is_counted(value)]
    match meter.aggregation:
        case "sum":
            return sum(value for _, value in counted)
        case "count":
            return len(counted)
        case "max":
            return max((value for _, value in counted), default=0)
        case "average":
            exact = Fraction(sum(value for _, value in counted), len(counted) or 1)
            return Decimal(math.floor(exact * 10**12 + Fraction(1, 2))) / 10**12
        case _:
            latest = max((minute for minute, _ in counted), default=None)
            return {value for minute, value in counted if minute == latest} or {0}


def _is_counted(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**15


def agrees(meter: models.Meter, found: Any, by_the_book: Any) -> bool:
    """Of several latest events at one moment, any may be the one."""
    return found in by_the_book if meter.aggregation == "latest" else found == by_the_book


def all_meters() -> list[models.Meter]:
    made = [factories.make_meter(f"calls.{kind}", aggregation=kind) for kind in KINDS if kind != "unique_count"]
    made += [
        factories.make_meter(f"sizes.{kind}", aggregation=kind, property="size", filters={"region": ["eu"]})
        for kind in KINDS
    ]
    return [*made, factories.make_meter("users", aggregation="unique_count", property="user")]


class TestTotals:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        EVENTS,
        st.tuples(st.integers(0, MINUTES), st.integers(0, MINUTES)),
        st.sampled_from(["whole", "split", "split and summarised"]),
    )
    def test_are_what_the_events_say(self, events: Any, minutes: tuple[int, int], state: str) -> None:
        made = list(models.Meter.objects.all()) or all_meters()
        tenant_id = f"tenant-{next(_tenants)}"
        sent = send(tenant_id, events)
        aggregation.aggregate_usage(now=NOW)
        start, end = (FIRST + timedelta(minutes=minute) for minute in sorted(minutes))
        if state != "whole":
            aggregation.split_hour(tenant_id=tenant_id, at=start, now=NOW)
            aggregation.split_hour(tenant_id=tenant_id, at=end, now=NOW)
        if state == "split and summarised":
            aggregation.aggregate_usage(now=NOW)

        found = usage.totals(
            tenant_id=tenant_id, meters=["api_call", *(m.code for m in made)], period_start=start, period_end=end
        )

        own = models.Meter(code="api_call", event_type="api_call", aggregation="sum")
        for meter in [own, *made]:
            by_the_book = expected(meter, sent, start, end)
            assert agrees(meter, found[meter.code].quantity, by_the_book), (meter.code, found[meter.code], by_the_book)

    @pytest.mark.parametrize(
        ("zone_minutes", "kind"), [(330, kind) for kind in KINDS] + [(345, kind) for kind in KINDS]
    )
    def test_are_exact_in_kolkata_and_kathmandu(self, zone_minutes: int, kind: str) -> None:
        meter = factories.make_meter("m", aggregation=kind, property="user" if kind == "unique_count" else "")
        midnight = FIRST + timedelta(days=2) - timedelta(minutes=zone_minutes)
        at = round((midnight - FIRST).total_seconds()) // 60
        sent = send("acme", [(at + shift, 50 + shift, {"user": f"u{shift}"}, None) for shift in (-31, -1, 0, 1, 29)])
        before, after = midnight - timedelta(days=1), midnight + timedelta(days=1)

        for _ in range(2):  # counted from the events first, then from the parts of the split hour
            for start, end in ((before, midnight), (midnight, after)):
                found = usage.totals(tenant_id="acme", meters=["m"], period_start=start, period_end=end)["m"]
                aggregation.aggregate_usage(now=NOW)
                found = usage.totals(tenant_id="acme", meters=["m"], period_start=start, period_end=end)["m"]
                assert agrees(meter, found.quantity, expected(meter, sent, start, end))
            with transaction.atomic():
                aggregation.split_hour(tenant_id="acme", at=midnight, now=NOW)
            aggregation.aggregate_usage(now=NOW)

    def test_read_no_event_where_the_hour_is_split(self) -> None:
        midnight = FIRST + timedelta(days=1, minutes=15)
        factories.ingest_many(3, event_timestamp=midnight, now=NOW)
        aggregation.split_hour(tenant_id="acme-corp", at=midnight, now=NOW)
        period = {"tenant_id": "acme-corp", "period_start": midnight, "period_end": midnight + timedelta(days=1)}
        with CaptureQueriesContext(connection) as pending:
            assert usage.totals(meters=["api_call"], **period)["api_call"].event_count == 3  # type: ignore[arg-type]
        aggregation.aggregate_usage(now=NOW)
        aggregation.split_hour(tenant_id="acme-corp", at=midnight + timedelta(days=1), now=NOW)
        aggregation.aggregate_usage(now=NOW)
        with CaptureQueriesContext(connection) as split:
            assert usage.totals(meters=["api_call"], **period)["api_call"].event_count == 3  # type: ignore[arg-type]

        assert any("metering_event " in query["sql"] for query in pending)
        assert not any("metering_event " in query["sql"] for query in split)

    def test_take_different_values_of_a_month_from_its_roll_up(self) -> None:
        factories.make_meter("users", aggregation="unique_count", property="user")
        send("acme", [(minute, 1, {"user": f"u{minute // 60 % 3}"}, None) for minute in range(0, MINUTES, 60)])
        month = {"period_start": datetime(2026, 11, 1, tzinfo=UTC), "period_end": datetime(2026, 12, 1, tzinfo=UTC)}
        aggregation.aggregate_usage(now=NOW)

        with CaptureQueriesContext(connection) as queries:
            found = usage.totals(tenant_id="acme", meters=["users"], **month)["users"]

        assert found.quantity == 3
        assert not any("metering_event " in query["sql"] for query in queries)


class TestListUsage:
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(EVENTS, st.tuples(st.integers(0, 96), st.integers(0, 96)), st.sampled_from(["hour", "day", "month"]))
    def test_tells_what_the_events_say(self, events: Any, asked: tuple[int, int], granularity: str) -> None:
        made = list(models.Meter.objects.all()) or all_meters()
        tenant_id = f"tenant-{next(_tenants)}"
        sent = send(tenant_id, events)
        aggregation.split_hour(tenant_id=tenant_id, at=sent[0].at, now=NOW)
        aggregation.aggregate_usage(now=NOW)
        start, end = (FIRST + timedelta(hours=hour) for hour in sorted(asked))
        for meter in made:
            rows = usage_rows.list_usage(
                tenant_id=tenant_id,
                meter=meter.code,
                period_from=start,
                period_to=end,
                granularity=models.Granularity(granularity),
                limit=1000,
            ).rows
            assert [row.period_start for row in rows] == sorted(row.period_start for row in rows)
            for row in rows:
                by_the_book = expected(meter, sent, row.period_start, row.period_end)
                value = 0 if row.value is None else row.value
                assert agrees(meter, value, by_the_book), (meter.code, row, by_the_book)
                assert start <= row.period_start < row.period_end <= end
            covered = [one for one in sent if any(row.period_start <= one.at < row.period_end for row in rows)]
            uncovered = [one for one in sent if one not in covered and start <= one.at < end]
            assert expected(models.Meter(aggregation="count", filters=meter.filters), uncovered, start, end) == 0

    def test_is_grouped(self) -> None:
        factories.make_meter("by_region", aggregation="average", group_by=["region", "user"])
        send(
            "acme",
            [
                (0, 4, {"region": "eu", "user": "ann"}, None),
                (1, 5, {"region": "eu", "user": "bob"}, None),
                (2, 1, {"region": "us", "user": "ann"}, None),
                (1500, 7, {"user": "ann"}, None),
            ],
        )
        aggregation.aggregate_usage(now=NOW)
        asked = (
            "/v1/usage?tenant_id=acme&meter=by_region&granularity=day&from=2026-10-30T00:00:00Z&to=2026-11-02T00:00:00Z"
        )

        answer = client("usage:read").get(f"{asked}&group_by=region").json()

        assert [
            (row["period_start"][8:10], row["group"], row["value"], row["event_count"]) for row in answer["data"]
        ] == [
            ("30", {"region": "eu"}, "4.5", 2),
            ("30", {"region": "us"}, "1", 1),
            ("31", {"region": None}, "7", 1),
        ]
        pages, cursor = [], ""
        for _ in range(3):
            page = client("usage:read").get(f"{asked}&group_by=region&limit=1{cursor}").json()
            pages += page["data"]
            cursor = f"&cursor={page['next_cursor']}"
        assert (pages, page["has_more"]) == (answer["data"], False)
        by_both = client("usage:read").get(f"{asked}&group_by=user,region").json()["data"]
        assert by_both[0]["group"] == {"region": "eu", "user": "ann"}

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("meter=users&group_by=region", "?group_by"),
            ("meter=api_call&group_by=region", "?group_by"),
            ("group_by=region", "?group_by"),
            ("meter=users&group_by=region,region", "?group_by"),
            ("meter=users&group_by=,", "?group_by"),
            ("meter=by_both&group_by=region", "?group_by"),
            ("meter=a%20b", "?meter"),
            ("meter=users&cursor=WyIyMDI2LTExLTAxVDAwOjAwOjAwWiIsICJhIiwgIlx1MDAwMCJd", "?cursor"),
            ("meter=users&cursor=WyIyMDI2LTExLTAxVDAwOjAwOjAwWiIsICJhIiwgIlx1ZDgwMCJd", "?cursor"),
            ("meter=users&cursor=WzEsIDIsIDNd", "?cursor"),
            ("meter=users&cursor=MQ==", "?cursor"),
        ],
    )
    def test_refuses_what_cannot_be_told(self, query: str, pointer: str) -> None:
        factories.make_meter("users", aggregation="unique_count", property="user")
        factories.make_meter("by_both", aggregation="latest", group_by=["region", "user"])
        asked = "/v1/usage?tenant_id=acme&from=2026-10-30T00:00:00Z&to=2026-11-02T00:00:00Z"

        answer = client("usage:read").get(f"{asked}&{query}")

        assert answer.status_code == 400
        assert answer["Content-Type"] == "application/problem+json"
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]

    def test_shows_a_meters_figure_beside_its_sums(self) -> None:
        factories.make_meter("calls.average", aggregation="average")
        send("acme", [(0, 1, {}, None), (1, 1, {}, None), (2, 2, {}, None)])
        aggregation.aggregate_usage(now=NOW)
        asked = "/v1/usage?tenant_id=acme&from=2026-10-30T00:00:00Z&to=2026-11-02T00:00:00Z"

        (row,) = client("usage:read").get(f"{asked}&meter=calls.average").json()["data"]
        (own,) = client("usage:read").get(asked).json()["data"]

        both = {
            "tenant_id": "acme",
            "event_type": "api_call",
            "period_start": "2026-10-30T00:00:00Z",
            "period_end": "2026-10-30T01:00:00Z",
            "total_quantity": 4,
            "event_count": 3,
        }
        assert own == both
        assert row == {
            **both, "meter": "calls.average", "aggregation": "average", "value": "1.333333333333", "skipped_count": 0,
        }  # fmt: skip

    def test_leaves_out_hours_whose_events_were_voided(self) -> None:
        send("acme", [(0, 3, {}, "void"), (61, 3, {}, None)])
        aggregation.aggregate_usage(now=NOW)
        asked = "/v1/usage?tenant_id=acme&from=2026-10-30T00:00:00Z&to=2026-11-02T00:00:00Z&event_type=api_call"

        rows = client("usage:read").get(asked).json()["data"]

        assert [row["period_start"] for row in rows] == ["2026-10-30T01:00:00Z"]


class TestHotPath:
    """Whatever the statistics say, reading usage probes the key of the summaries and no event."""

    @pytest.mark.parametrize("granularity", ["hour", "day", "month"])
    @pytest.mark.parametrize("meter", [None, "api_call"])
    def test_of_rows_is_an_index_and_no_event(self, granularity: str, meter: str | None) -> None:
        plan = self._plan(
            lambda: usage_rows.list_usage(
                tenant_id="acme-corp",
                meter=meter,
                period_from=FIRST - timedelta(days=60),
                period_to=NOW,
                granularity=models.Granularity(granularity),
                limit=1000,
            )
        )
        assert "metering_usage_summary_is_one_per_window" in plan

    def test_of_totals_is_an_index_and_no_event(self) -> None:
        plan = self._plan(
            lambda: usage.totals(
                tenant_id="acme-corp", meters=["api_call"], period_start=FIRST, period_end=FIRST + timedelta(days=31)
            )
        )
        assert "metering_usage_summary_is_one_per_window" in plan

    def test_of_changed_windows_is_the_key(self) -> None:
        plan = self._plan(lambda: usage.list_changed_windows(shard=0, after_id=7, limit=100))
        assert "metering_changed_window_pkey" in plan

    def _plan(self, read: Any) -> str:
        factories.ingest_many(3, event_timestamp=FIRST, now=NOW)
        aggregation.aggregate_usage(now=NOW)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO metering_usage_summary (
                    tenant_id, meter, group_key, granularity, period_start, total, event_count, computed_at
                )
                SELECT 'tenant-' || tenant, 'api_call', '', 'hour', %s + hour * interval '1 hour', 1, 1, now()
                FROM generate_series(1, 200) AS tenant CROSS JOIN generate_series(1, 100) AS hour
                """,
                [FIRST],
            )
            with CaptureQueriesContext(connection) as queries:
                read()
            statements = [query["sql"] for query in queries if 'metering_meter"' not in query["sql"]]
            assert not any("metering_event " in sql for sql in statements)
            cursor.execute("SET LOCAL enable_seqscan = off")  # the tables are small here
            cursor.execute(f"EXPLAIN {statements[-1]}")
            return "\n".join(line for (line,) in cursor.fetchall())


class TestFreshAsOf:
    """Whatever is not counted yet holds the moment back, until it is counted."""

    def page(self, granularity: str = "hour", meter: str | None = None, tenant_id: str = "acme-corp") -> datetime:
        return usage_rows.list_usage(
            tenant_id=tenant_id,
            meter=meter,
            period_from=FIRST,
            period_to=NOW,
            granularity=models.Granularity(granularity),
            limit=10,
        ).fresh_as_of

    def test_is_held_back_by_a_quarantined_window_of_the_tenant(self) -> None:
        series = factories.SeriesFactory.create(event_type="api_call")
        held = models.QuarantinedWindow.objects.create(
            shard=0, series_id=series.pk, event_hour=495_000, error="poison", started_at=FIRST,
            first_failed_at=NOW, last_failed_at=NOW, retry_at=NOW,
        )  # fmt: skip
        period: dict[str, Any] = {
            "tenant_id": "acme-corp",
            "period_start": datetime(1970, 1, 1, tzinfo=UTC),
            "period_end": datetime(2100, 1, 1, tzinfo=UTC),
        }
        assert self.page() == self.page("day") == FIRST
        assert usage.fresh_as_of() == usage.fresh_as_of(tenant_id="acme-corp") == FIRST
        assert usage.has_pending_windows(**period, meters=["api_call"])
        assert not usage.has_pending_windows(**period, meters=["tokens"])
        assert self.page(tenant_id="other") > FIRST
        held.delete()
        assert self.page() > FIRST
        assert not usage.has_pending_windows(**period)

    def test_is_held_back_by_a_meter_that_is_still_being_counted(self) -> None:
        factories.ingest_many(3, event_timestamp=FIRST, now=NOW)
        aggregation.aggregate_usage(now=NOW)
        factories.make_meter("late", aggregation="count")
        models.MeterBackfill.objects.update(started_at=FIRST)
        period: dict[str, Any] = {"tenant_id": "acme-corp", "period_start": FIRST, "period_end": NOW}

        assert self.page(meter="late") == FIRST
        assert self.page(meter="api_call") > FIRST
        assert self.page() > FIRST
        assert usage.has_pending_windows(**period, meters=["late"])
        assert not usage.has_pending_windows(**period, meters=["api_call"])
        aggregation.aggregate_usage(now=NOW)
        assert self.page(meter="late") > FIRST
        assert usage.totals(meters=["late"], **period)["late"].quantity == 3

    def test_of_days_waits_for_the_roll_up_and_that_of_hours_does_not(self) -> None:
        series = factories.SeriesFactory.create(event_type="api_call")
        models.TouchedWindow.objects.create(
            batch_id=1, shard=0, started_at=FIRST, series_ids=[series.pk], hours=[495_000], stage="roll_up"
        )

        assert self.page("day") == self.page("month") == usage.fresh_as_of() == FIRST
        assert self.page("hour") > FIRST


class TestCountEvents:
    def test_refuses_to_count_what_is_archived(self) -> None:
        factories.ingest_many(1, event_timestamp=FIRST, now=NOW)
        with connection.cursor() as cursor:
            cursor.execute("SELECT metering_seal_month('2026-10-01')")
        november = datetime(2026, 11, 1, tzinfo=UTC)
        both = figures.Stretch(november - timedelta(microseconds=1), november + timedelta(days=3))
        later = figures.Stretch(november, november + timedelta(days=3))

        with pytest.raises(errors.UsageArchived, match="2026-10"):
            figures.count_events(tenant_id="a", event_type="b", meter=None, stretches=[both])
        assert figures.count_events(tenant_id="a", event_type="b", meter=None, stretches=[later]) == {}
