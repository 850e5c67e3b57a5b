"""What a window adds up to: all kinds of meters, corrections and split hours, held against a plain model."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering import aggregation, hours, models, recompute, schemas, usage
from tests.factories import metering as factories

pytestmark = pytest.mark.django_db

NOW = factories.NOW
HOUR = datetime(2026, 11, 20, 11, tzinfo=UTC)
event = factories.EventInFactory.build
meter = factories.make_meter


def aggregate(now: datetime = NOW) -> None:
    report = aggregation.aggregate_usage(now=now)
    assert (report.remaining, report.quarantined) == (0, 0)


def row(code: str, *, group: str = "", granularity: str = "hour", at: datetime = HOUR) -> models.UsageSummary:
    return models.UsageSummary.objects.get(meter=code, group_key=group, granularity=granularity, period_start=at)


def figures(code: str, **place: Any) -> tuple[int, int]:
    found = row(code, **place)
    return int(found.total), found.event_count


def sent(*properties: dict[str, Any], **values: Any) -> None:
    for n, given_properties in enumerate(properties):
        factories.ingest(event(event_timestamp=HOUR + timedelta(minutes=n), properties=given_properties, **values))


class TestMeters:
    def test_sums_a_property_and_counts_what_has_none_as_skipped(self) -> None:
        meter("tokens", property="tokens")
        sent(
            {"tokens": 5},
            {"tokens": 7},
            {"tokens": 10**15},
            {},
            {"tokens": "5"},
            {"tokens": 1.5},
            {"tokens": -1},
            {"tokens": None},
            {"tokens": True},
            {"tokens": [5]},
            {"tokens": 10**15 + 1},
            {"tokens": 10**30},
        )
        aggregate()
        found = row("tokens")
        assert [found.total, found.event_count, found.skipped_count, found.maximum] == [10**15 + 12, 3, 9, 10**15]

    def test_sums_the_quantity_where_it_has_no_property(self) -> None:
        meter("double")
        sent({}, {}, quantity=4)
        aggregate()
        assert figures("double") == figures("api_call") == (8, 2)
        assert row("double").skipped_count == 0

    def test_counts(self) -> None:
        meter("calls", aggregation="count")
        sent({}, {}, {}, quantity=9)
        aggregate()
        assert row("calls").event_count == 3

    def test_takes_the_maximum(self) -> None:
        meter("peak", aggregation="max", property="size")
        sent({"size": 3}, {"size": 8}, {"size": 5})
        aggregate()
        assert row("peak").maximum == row("peak", granularity="day", at=HOUR.replace(hour=0)).maximum == 8

    def test_averages_by_its_sum_and_count(self) -> None:
        meter("mean", aggregation="average", property="ms")
        sent({"ms": 1}, {"ms": 2}, {"other": 100})
        aggregate()
        assert figures("mean") == (3, 2)

    def test_takes_the_latest_by_time_and_not_by_arrival(self) -> None:
        meter("seats", aggregation="latest", property="seats")
        for minute, seats in [(30, 8), (50, 3), (10, 9)]:
            factories.ingest(event(event_timestamp=HOUR + timedelta(minutes=minute), properties={"seats": seats}))
        factories.ingest(event(event_timestamp=HOUR - timedelta(hours=2), properties={"seats": 70}))
        factories.ingest(event(event_timestamp=HOUR + timedelta(minutes=55), properties={}))
        aggregate()
        places: list[dict[str, Any]] = [{}, {"granularity": "day", "at": HOUR.replace(hour=0)}]
        places.append({"granularity": "month", "at": HOUR.replace(day=1, hour=0)})
        assert [row("seats", **place).latest for place in places] == [3, 3, 3]

    def test_counts_different_values_again_for_days_and_months(self) -> None:
        meter("users", aggregation="unique_count", property="user")
        for days, users in [(0, "aab"), (0, "b"), (1, "bc"), (40, "az")]:
            for user in users:
                at = HOUR - timedelta(days=days, hours=users == "b")
                factories.ingest(event(event_timestamp=at, properties={"user": user}))
        sent({"user": None}, {}, {"user": {"a": 1}})
        aggregate()
        assert row("users").unique_count == 2
        assert row("users").skipped_count == 3
        assert row("users", granularity="day", at=HOUR.replace(hour=0)).unique_count == 2
        assert row("users", granularity="month", at=HOUR.replace(day=1, hour=0)).unique_count == 3
        assert row("users", granularity="month", at=datetime(2026, 10, 1, tzinfo=UTC)).unique_count == 2

    def test_bills_no_request_that_is_not_billable_whatever_amends_it(self) -> None:
        sent({"billable": False}, event_type="api.request", idempotency_key="r", quantity=5)
        factories.ingest(event(event_type="api.request", corrects="r", quantity=7))
        aggregate()
        assert figures("api.request") == (0, 1)
        assert models.RequestSummary.objects.get(granularity="hour").units == 0
        end = HOUR + timedelta(minutes=30)  # within the hour, so that events are counted
        found = usage.totals(tenant_id="acme-corp", meters=["api.request"], period_start=HOUR, period_end=end)
        assert found["api.request"].quantity == 0

    def test_counts_a_days_values_again_where_another_one_took_the_place_of_one(self) -> None:
        meter("users", aggregation="unique_count", property="user")
        sent({"user": "a"}, idempotency_key="first")
        factories.ingest(event(event_timestamp=HOUR - timedelta(hours=1), properties={"user": "a"}))
        aggregate()
        factories.ingest(event(corrects="first", void=True, quantity=0))
        sent({"user": "b"})
        aggregate()
        assert row("users").unique_count == 1
        assert row("users", granularity="day", at=HOUR.replace(hour=0)).unique_count == 2
        assert row("users", granularity="month", at=HOUR.replace(day=1, hour=0)).unique_count == 2

    def test_takes_only_what_its_filters_accept(self) -> None:
        meter("eu", filters={"region": ["eu", "uk"], "tier": ["1"]})
        sent({"region": "eu", "tier": 1}, {"region": "uk", "tier": "1"}, {"region": "us", "tier": 1}, {"region": "eu"})
        aggregate()
        assert figures("eu") == (2, 2)

    def test_tells_groups_apart_beside_the_whole(self) -> None:
        meter("by_region", group_by=["region", "tier"])
        sent({"region": "eu", "tier": 1}, {"tier": 1, "region": "eu"}, {"region": "us"}, {"region": "x" * 500})
        aggregate()
        groups = {
            key: int(total)
            for key, total in models.UsageSummary.objects.filter(meter="by_region", granularity="hour").values_list(
                "group_key", "total"
            )
        }
        assert groups.pop("") == 4
        assert {key: json.loads(key) for key in groups} == {
            '{"tier": "1", "region": "eu"}': {"region": "eu", "tier": "1"},
            '{"tier": null, "region": "us"}': {"region": "us", "tier": None},
            '{"tier": null, "region": "%s"}' % ("x" * 100): {"region": "x" * 100, "tier": None},
        }
        assert groups['{"tier": "1", "region": "eu"}'] == 2
        day = {"granularity": "day", "at": HOUR.replace(hour=0)}
        assert figures("by_region", group='{"tier": "1", "region": "eu"}', **day) == (2, 2)

    def test_stands_in_place_of_the_meter_of_a_type_that_comes_up_under_its_name(self) -> None:
        meter("seats", event_type="api_call", aggregation="max")
        sent({}, quantity=3)
        sent({}, {}, quantity=500, event_type="seats")
        aggregate()
        assert figures("seats") == (3, 1)
        assert figures("seats", granularity="month", at=HOUR.replace(day=1, hour=0)) == (3, 1)


class TestCorrections:
    def amend(self, key: str, quantity: int, *, at: datetime = HOUR, now: datetime = NOW, void: bool = False) -> None:
        report = factories.ingest(
            event(
                corrects=key,
                quantity=quantity,
                void=void,
                event_timestamp=at,
                idempotency_key=f"{key}/{now}/{quantity}",
            ),
            now=now,
        )
        assert report.accepted == 1, report

    def test_give_the_original_another_quantity_in_its_own_window(self) -> None:
        factories.ingest(event(idempotency_key="a", quantity=10, event_timestamp=HOUR))
        factories.ingest(event(idempotency_key="b", quantity=1, event_timestamp=HOUR))
        aggregate()
        self.amend("a", 4, at=HOUR - timedelta(hours=5))
        aggregate()
        assert figures("api_call") == (5, 2)
        assert not models.UsageSummary.objects.filter(period_start=HOUR - timedelta(hours=5)).exists()
        assert models.Event.objects.count() == 3

    def test_take_a_voided_event_out(self) -> None:
        factories.ingest(event(idempotency_key="a", quantity=10, event_timestamp=HOUR))
        aggregate()
        self.amend("a", 0, void=True)
        aggregate()
        assert figures("api_call") == (0, 0)
        assert figures("api_call", granularity="month", at=HOUR.replace(day=1, hour=0)) == (0, 0)

    def test_are_undone_by_later_ones(self) -> None:
        factories.ingest(event(idempotency_key="a", quantity=10, event_timestamp=HOUR))
        self.amend("a", 0, void=True)
        self.amend("a", 6, now=NOW + timedelta(seconds=1))
        aggregate()
        assert figures("api_call") == (6, 1)

    def test_wait_for_their_original(self) -> None:
        self.amend("a", 4, at=HOUR - timedelta(hours=3))
        aggregate()
        assert not models.UsageSummary.objects.exists()
        factories.ingest(event(idempotency_key="a", quantity=10, event_timestamp=HOUR))
        aggregate()
        assert figures("api_call") == (4, 1)

    def test_hold_for_meters_that_were_made(self) -> None:
        meter("tokens", property="tokens", group_by=["region"])
        meter("double")
        factories.ingest(
            event(idempotency_key="a", quantity=3, event_timestamp=HOUR, properties={"tokens": 5, "region": "eu"}),
            event(idempotency_key="b", quantity=3, event_timestamp=HOUR, properties={"tokens": 6, "region": "us"}),
        )
        aggregate()
        self.amend("a", 0, void=True)
        self.amend("b", 100)
        aggregate()
        assert figures("double") == (100, 1)
        assert figures("tokens") == (6, 1)
        assert figures("tokens", group='{"region": "eu"}') == (0, 0)
        assert figures("tokens", group='{"region": "us"}') == (6, 1)


class TestSplits:
    def test_cut_an_hour_in_two_for_one_tenant(self) -> None:
        half = HOUR + timedelta(minutes=30)
        for tenant in ("acme-corp", "other"):
            for at, quantity in [
                (half - timedelta(microseconds=1), 1),
                (half, 10),
                (HOUR + timedelta(minutes=59), 100),
            ]:
                factories.ingest(event(tenant_id=tenant, event_timestamp=at, quantity=quantity))
        aggregate()
        assert aggregation.split_hour(tenant_id="acme-corp", at=half, now=NOW)
        assert not aggregation.split_hour(tenant_id="acme-corp", at=half, now=NOW)
        aggregate()
        mine: Any = models.UsageSummary.objects.filter(tenant_id="acme-corp", granularity="hour").order_by(
            "period_start"
        )
        assert list(mine.values_list("period_start", "total")) == [(HOUR, 1), (half, 110)]
        theirs = models.UsageSummary.objects.get(tenant_id="other", granularity="hour")
        assert theirs.total == 111
        days = models.UsageSummary.objects.filter(granularity="day").values_list("total", flat=True)
        assert list(days) == [111, 111]

    def test_cut_an_hour_in_four(self) -> None:
        for quarter in (15, 45, 30):
            aggregation.split_hour(tenant_id="acme-corp", at=HOUR + timedelta(minutes=quarter), now=NOW)
        for minute in range(0, 60, 5):
            factories.ingest(event(event_timestamp=HOUR + timedelta(minutes=minute), quantity=1))
        aggregate()
        rows = models.UsageSummary.objects.filter(granularity="hour").order_by("period_start")
        assert [(found.period_start.minute, int(found.total)) for found in rows] == [(0, 3), (15, 3), (30, 3), (45, 3)]

    def test_are_not_made_where_an_hour_begins(self) -> None:
        assert not aggregation.split_hour(tenant_id="acme-corp", at=HOUR, now=NOW)
        assert not models.WindowSplit.objects.exists()


class TestChangedWindows:
    def test_tell_each_difference(self) -> None:
        factories.ingest_many(2, quantity=10, event_timestamp=HOUR)
        aggregate()
        factories.ingest_many(1, quantity=5, event_timestamp=HOUR)
        aggregate(NOW + timedelta(minutes=1))
        aggregate(NOW + timedelta(minutes=2))
        told: Any = models.ChangedWindow.objects.order_by("id").values_list(
            "tenant_id", "meter", "period_start", "old_total", "new_total", "old_count", "new_count", "changed_at"
        )
        assert list(told) == [
            ("acme-corp", "api_call", HOUR, 0, 20, 0, 2, NOW),
            ("acme-corp", "api_call", HOUR, 20, 25, 2, 3, NOW + timedelta(minutes=1)),
        ]

    def test_are_kept_for_a_week(self) -> None:
        factories.ingest_many(1, event_timestamp=HOUR)
        aggregate()
        aggregate(NOW + aggregation.CHANGES_KEPT_FOR)
        assert models.ChangedWindow.objects.count() == 1
        aggregate(NOW + aggregation.CHANGES_KEPT_FOR + timedelta(seconds=1))
        assert not models.ChangedWindow.objects.exists()


KINDS: list[dict[str, Any]] = [
    {"code": "m_sum", "aggregation": "sum", "property": "size"},
    {"code": "m_count", "aggregation": "count", "filters": {"region": ["eu"]}},
    {"code": "m_max", "aggregation": "max"},
    {"code": "m_average", "aggregation": "average", "property": "size", "group_by": ["region"]},
    {"code": "m_unique", "aggregation": "unique_count", "property": "user", "group_by": ["region"]},
    {"code": "m_latest", "aggregation": "latest", "group_by": ["region", "user"]},
]
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "size": st.one_of(st.integers(-1, 20), st.sampled_from(["7", None, 2.5])),
        "region": st.sampled_from(["eu", "us"]),
        "user": st.sampled_from(["u1", "u2", 3, "3"]),
    },
)
MINUTES = st.integers(0, 60 * 24 * 40)
NAMES = itertools.count()
STEP = st.one_of(
    st.tuples(st.just("event"), MINUTES, st.integers(0, 50), PROPERTIES),
    st.tuples(st.just("event"), st.integers(0, 120), st.integers(0, 50), PROPERTIES),
    st.tuples(st.just("amend"), st.integers(0, 30), MINUTES, st.integers(0, 50)),
    st.tuples(st.just("void"), st.integers(0, 30), MINUTES),
    st.tuples(st.just("split"), st.one_of(MINUTES, st.integers(0, 120))),
    st.tuples(st.just("meter")),
    st.tuples(st.just("aggregate")),
)


class TestModel:
    """Random lives of a tenant; whatever came in whatever order, every summary is what a plain model says."""

    @pytest.fixture(autouse=True, params=["by window", "by hour"])
    def way(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both ways to sum plain windows: few of an hour, and most of it."""
        if request.param == "by hour":
            monkeypatch.setattr(recompute, "_DENSE_WINDOWS", 1)
            monkeypatch.setattr(recompute, "_DENSE_SHARE", 10**9)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(STEP, max_size=40), st.booleans())
    def test_agrees_with_every_summary(self, steps: list[Any], originals_last: bool) -> None:  # noqa: FBT001
        life = Life(f"t{next(NAMES)}")  # a name of its own: a life without events leaves splits behind, and no series
        for step in steps:
            if not (originals_last and step[0] == "event"):
                life.take(step)
        for step in steps:
            if originals_last and step[0] == "event":
                life.take(step)
        life.aggregate()
        assert life.stored() == life.expected()


class Life:
    """A tenant with an event type of its own, in the service and in the model."""

    def __init__(self, name: str) -> None:
        self.tenant = name
        self.type = name
        self.events: dict[str, tuple[datetime, int, dict[str, Any]]] = {}
        self.corrections: dict[str, int | None] = {}
        self.splits: set[datetime] = set()
        self.meters = [{"code": self.type, "aggregation": "sum"}]
        self.clock = NOW
        self.sent = 0

    def take(self, step: Any) -> None:
        self.clock += timedelta(seconds=1)
        getattr(self, f"take_{step[0]}")(*step[1:])

    def take_event(self, minutes: int, quantity: int, properties: dict[str, Any]) -> None:
        # No two at the same moment: which of them is the latest is not promised.
        at = NOW - timedelta(minutes=minutes) + timedelta(microseconds=len(self.events))
        key = f"k{len(self.events)}"
        self.events[key] = (at, quantity, properties)
        self.ingest(event(idempotency_key=key, quantity=quantity, event_timestamp=at, properties=properties))

    def take_amend(self, number: int, minutes: int, quantity: int) -> None:
        self.correct(f"k{number}", minutes, quantity=quantity)
        self.corrections[f"k{number}"] = quantity

    def take_void(self, number: int, minutes: int) -> None:
        self.correct(f"k{number}", minutes, quantity=0, void=True)
        self.corrections[f"k{number}"] = None

    def correct(self, key: str, minutes: int, **values: Any) -> None:
        self.sent += 1
        at = NOW - timedelta(minutes=minutes)
        self.ingest(event(idempotency_key=f"c{self.sent}", corrects=key, event_timestamp=at, **values))

    def take_split(self, minutes: int) -> None:
        at = NOW - timedelta(minutes=minutes)
        aggregation.split_hour(tenant_id=self.tenant, at=at, now=self.clock)
        if at.minute:
            self.splits.add(at)

    def take_meter(self) -> None:
        if len(self.meters) <= len(KINDS):
            kind = KINDS[len(self.meters) - 1]
            terms = {**kind, "code": f"{self.type}-{kind['code']}"}
            meter(event_type=self.type, **terms)
            self.meters.append(terms)

    def take_aggregate(self) -> None:
        self.aggregate()

    def aggregate(self) -> None:
        aggregate(self.clock)

    def ingest(self, one: schemas.EventIn) -> None:
        report = factories.ingest(
            msgspec.structs.replace(one, tenant_id=self.tenant, event_type=self.type), now=self.clock
        )
        assert report.accepted == 1, report

    def stored(self) -> dict[tuple[str, str, str, datetime], tuple[Any, ...]]:
        rows = models.UsageSummary.objects.filter(tenant_id=self.tenant)
        return {
            (found.meter, found.group_key, found.granularity, found.period_start): (
                int(found.total),
                found.event_count,
                found.maximum,
                found.latest,
                found.unique_count,
                found.skipped_count,
            )
            for found in rows
            if found.event_count or found.skipped_count
        }

    def expected(self) -> dict[tuple[str, str, str, datetime], tuple[Any, ...]]:
        answer = {}
        for terms in self.meters:
            places: dict[tuple[str, str, datetime], list[Any]] = defaultdict(list)
            for key, (at, quantity, properties) in self.events.items():
                if self.corrections.get(key, quantity) is None or not accepts(terms, properties):
                    continue
                counted = (at, self.corrections.get(key, quantity), properties)
                for group in {"", group_of(terms, properties)}:
                    for granularity, start in self.periods(at):
                        places[(group, granularity, start)].append(counted)
            for (group, granularity, start), counted_events in places.items():
                answer[(terms["code"], group, granularity, start)] = summary(terms, counted_events)
        return answer

    def periods(self, at: datetime) -> Iterable[tuple[str, datetime]]:
        hour = hours.start_of(hours.hour_of(at))
        yield "hour", max([hour, *(split for split in self.splits if hour < split <= at)])
        yield "day", at.replace(hour=0, minute=0, microsecond=0)
        yield "month", at.replace(day=1, hour=0, minute=0, microsecond=0)


def accepts(terms: dict[str, Any], properties: dict[str, Any]) -> bool:
    return all(properties.get(name) in accepted for name, accepted in terms.get("filters", {}).items())


def group_of(terms: dict[str, Any], properties: dict[str, Any]) -> str:
    names = terms.get("group_by", [])
    if not names:
        return ""
    shortest_first = sorted(names, key=lambda name: (len(name), name))
    return json.dumps({name: str(properties[name]) if name in properties else None for name in shortest_first})


def summary(terms: dict[str, Any], counted: Sequence[tuple[datetime, int, dict[str, Any]]]) -> tuple[Any, ...]:
    kind, name = terms["aggregation"], str(terms.get("property", ""))
    if kind == "unique_count":
        texts = [str(properties[name]) for _, _, properties in counted if properties.get(name) is not None]
        quantities = [quantity for _, quantity, _ in counted]
        skipped = len(counted) - len(texts)
        return (sum(quantities), len(texts), max(quantities), None, len(set(texts)), skipped)
    values = [(at, properties.get(name) if name else quantity) for at, quantity, properties in counted]
    held = [(at, value) for at, value in values if type(value) is int and value >= 0]
    total, maximum = sum(value for _, value in held), max((value for _, value in held), default=None)
    latest = None
    if kind == "latest" and held:
        last = max(at for at, _ in held)
        latest = next(value for at, value in held if at == last)
    return (total, len(held), maximum, latest, None, len(values) - len(held))
