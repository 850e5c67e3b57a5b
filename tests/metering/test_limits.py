"""Rate limits: shared by processes through Redis, exact where they are small, and never in the way when Redis is."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from billing_site.kernel import models
from metering import limits
from tests.factories import kernel as factories
from tests.support import services, waiting

EVENT = {"tenant_id": "acme", "event_type": "api_call"}


@pytest.fixture
def url() -> Iterator[str]:
    """A Redis that nothing has been counted in."""
    address = str(services.current().broker.url(database=services.current().worker))
    client = redis.Redis.from_url(address)
    yield address
    for key in client.scan_iter("billing:*"):
        client.delete(key)
    client.close()


@pytest.fixture(autouse=True)
def no_limiters_of_other_tests() -> Iterator[None]:
    limits._limiter.cache_clear()
    yield
    limits._limiter.cache_clear()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and says nothing: as slow as can be."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def fall_opens() -> float:
    return float(limits.fall_opens._value.get())


def passes(limiter: limits.Limiter, text: str, costs: dict[str, int]) -> bool:
    try:
        limiter.take(limits.TENANT, limits.parse(text), costs)
    except limits.RateLimited:
        return False
    return True


class TestLimiter:
    def test_lets_pass_what_the_limit_says_and_no_more(self, url: str) -> None:
        limiter = limits.Limiter(url)
        assert [passes(limiter, "5/minute", {"acme": 1}) for _ in range(7)] == [True] * 5 + [False] * 2

    def test_is_shared_by_processes(self, url: str) -> None:
        one, other = limits.Limiter(url), limits.Limiter(url)
        assert [passes(limiter, "5/minute", {"acme": 1}) for limiter in [one, other] * 4] == [True] * 5 + [False] * 3

    def test_is_exact_with_many_at_once(self, url: str) -> None:
        limiters = [limits.Limiter(url) for _ in range(4)]
        let_in: list[bool] = []

        def send(limiter: limits.Limiter) -> None:
            let_in.extend([passes(limiter, "100/minute", {"acme": 3}) for _ in range(20)])

        together = [threading.Thread(target=send, args=(limiter,)) for limiter in limiters]
        for each in together:
            each.start()
        for each in together:
            each.join()
        assert let_in.count(True) == 33

    def test_begins_anew_after_its_window(self, url: str) -> None:
        limiter = limits.Limiter(url)
        assert [passes(limiter, "1/second", {"acme": 1}) for _ in range(2)] == [True, False]
        waiting.until(lambda: passes(limiter, "1/second", {"acme": 1}), seconds=5, what="the next second")

    def test_takes_nothing_of_what_it_refuses(self, url: str) -> None:
        limiter = limits.Limiter(url)
        assert passes(limiter, "10/minute", {"acme": 6, "globex": 6})
        assert not passes(limiter, "10/minute", {"acme": 3, "globex": 6})
        assert not passes(limiter, "10/minute", {"globex": 6, "acme": 3})
        assert passes(limiter, "10/minute", {"acme": 4, "globex": 4})
        assert not passes(limits.Limiter(url), "10/minute", {"acme": 1})

    def test_refuses_what_is_more_than_a_whole_window(self, url: str) -> None:
        limiter = limits.Limiter(url)
        assert not passes(limiter, "10/minute", {"acme": 11})
        assert passes(limiter, "10/minute", {"acme": 10})

    def test_holds_to_each_of_several_limits(self, url: str) -> None:
        limiter = limits.Limiter(url)
        sent = [passes(limiter, "100/minute;3/hour", {"acme": 1}) for _ in range(4)]
        assert sent == [True] * 3 + [False]
        standing = limits.Limiter(url).take(limits.TENANT, limits.parse("100/minute"), {"acme": 1})
        assert standing is not None
        assert standing.remaining == 96

    def test_asks_redis_only_for_each_thousandth_of_a_large_limit(self, url: str) -> None:
        limiter, client = limits.Limiter(url), redis.Redis.from_url(url)
        before = client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
        for _ in range(500):
            assert passes(limiter, "100000/minute", {"acme": 10})
        asked = client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
        client.close()
        assert asked <= 55

    def test_counts_a_large_limit_to_a_thousandth_per_process(self, url: str) -> None:
        pair = [limits.Limiter(url) for _ in range(2)]
        passed = sum(passes(pair[n % 2], "20000/minute", {"acme": 7}) for n in range(6000)) * 7
        assert 20_000 - 7 <= passed <= 20_000 + 2 * 20 + 7


class TestWithoutRedis:
    def test_lets_everything_pass_and_counts_it(self) -> None:
        limiter = limits.Limiter("redis://127.0.0.1:9/0")
        before = fall_opens()
        assert all(passes(limiter, "1/minute", {"acme": 1}) for _ in range(20))
        assert fall_opens() == before + 20

    def test_counts_the_first_request_under_a_large_limit(self) -> None:
        limiter, before = limits.Limiter("redis://127.0.0.1:9/0"), fall_opens()
        assert passes(limiter, "60000/minute", {"acme": 1})
        assert fall_opens() == before + 1

    def test_does_not_wait_for_one_that_is_slow(self, silent_port: int) -> None:
        limiter = limits.Limiter(f"redis://127.0.0.1:{silent_port}/0")
        began = time.monotonic()
        assert all(passes(limiter, "1/minute", {"acme": 1}) for _ in range(200))
        assert time.monotonic() - began < 3  # three times the time-out, then it is not asked

    def test_counts_again_when_it_is_back(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        limiter = limits.Limiter("redis://127.0.0.1:9/0")
        for _ in range(4):
            passes(limiter, "5/minute", {"acme": 1})
        limiter._client = redis.Redis.from_url(url)
        monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 6)
        assert [passes(limiter, "5/minute", {"acme": 1}) for _ in range(2)] == [True, False]  # four passed already

    def test_survives_a_flushed_script_cache(self, url: str) -> None:
        limiter, client = limits.Limiter(url), redis.Redis.from_url(url)
        assert passes(limiter, "2/minute", {"acme": 1})
        client.script_flush()
        assert [passes(limiter, "2/minute", {"acme": 1}) for _ in range(2)] == [True, False]
        client.close()


@pytest.mark.django_db
class TestOverHttp:
    def post(self, by: Any, *names: str, **changes: str) -> Any:
        events = [{**EVENT, "idempotency_key": name, **changes} for name in names]
        return by.post("/v1/events", {"events": events}, format="json")

    def test_tells_where_a_sender_stands(self, url: str, settings: Any) -> None:
        settings.RATE_LIMIT_KEY_REQUESTS = "3/minute"
        settings.RATE_LIMIT_TENANT_EVENTS = "10/hour"
        response = self.post(factories.client("events:write"), "k1", "k2")
        assert response["RateLimit"] == '"key";r=2;t=60, "tenant";r=8;t=3600'
        assert response["RateLimit-Policy"] == '"key";q=3;w=60, "tenant";q=10;w=3600'

    def test_refuses_a_key_over_its_limit_and_stores_nothing(self, url: str, settings: Any) -> None:
        settings.RATE_LIMIT_KEY_REQUESTS = "1/minute"
        by = factories.client("events:write")
        assert self.post(by, "k1").status_code == 200
        response = self.post(by, "k2")
        assert (response.status_code, response["Content-Type"]) == (429, "application/problem+json")
        assert response.json()["code"] == "rate_limited"
        assert 1 <= int(response["Retry-After"]) <= 60
        assert response["RateLimit"].startswith('"key";r=0;')
        assert self.post(factories.client("events:write"), "k2").json()["accepted"] == 1

    def test_holds_the_doors_of_events_and_requests_to_one_limit(self, url: str, settings: Any) -> None:
        settings.RATE_LIMIT_KEY_REQUESTS = "1/minute"
        by = factories.client("events:write")
        assert self.post(by, "k1").status_code == 200
        assert by.post("/v1/events/requests", {}, format="json").status_code == 429

    def test_refuses_events_over_a_tenants_limit(self, url: str, settings: Any) -> None:
        settings.RATE_LIMIT_TENANT_EVENTS = "3/minute"
        one, other = factories.client("events:write"), factories.client("events:write")
        assert self.post(one, "k1", "k2").status_code == 200
        refused = self.post(other, "k3", "k4")
        assert refused.status_code == 429
        assert "'acme'" in refused.json()["detail"]
        assert self.post(other, "k3", tenant_id="globex").status_code == 200
        assert self.post(other, "k3").status_code == 200

    def test_lets_a_bound_key_use_up_no_other_tenants_limit(self, url: str, settings: Any) -> None:
        settings.RATE_LIMIT_TENANT_EVENTS = "3/minute"
        bound = factories.client("events:write", tenant_id="globex")
        for n in range(5):
            assert self.post(bound, f"k{n}").json()["errors"][0]["code"] == "tenant_forbidden"
        assert self.post(factories.client("events:write"), "k1", "k2", "k3").status_code == 200

    def test_takes_events_while_redis_is_away(self, settings: Any) -> None:
        settings.RATE_LIMIT_REDIS_URL = "redis://127.0.0.1:9/0"
        settings.RATE_LIMIT_KEY_REQUESTS = settings.RATE_LIMIT_TENANT_EVENTS = "1/minute"
        by, before = factories.client("events:write"), fall_opens()
        assert [self.post(by, f"k{n}").json()["accepted"] for n in range(5)] == [1] * 5
        assert fall_opens() == before + 10
        assert "billing_rate_limit_fall_opens_total" in factories.client().get("/metrics").content.decode()

    def test_can_be_a_keys_own_and_can_be_off(self, url: str, settings: Any) -> None:
        settings.RATE_LIMIT_KEY_REQUESTS = settings.RATE_LIMIT_TENANT_EVENTS = ""
        by = factories.client("events:write")
        free = self.post(by, "k1")
        assert not free.has_header("RateLimit")
        own = factories.client("events:write")
        models.ApiKey.objects.filter(pk=models.ApiKey.objects.latest("id").pk).update(rate_limit="2/minute;100/day")
        assert [self.post(own, f"k{n}").status_code for n in range(3)] == [200, 200, 429]
        assert self.post(by, "k9").status_code == 200
