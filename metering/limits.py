"""
Rate limits of the data path: requests per API key, events per tenant.

Counted in Redis, over all processes, in windows that begin with the first of what they count. A process tells Redis
what it let pass in parts of a thousandth of the limit, so limits are exact to a thousandth per process, limits up to
1,000 are exact, and most requests ask nobody. One that is alone in its second asks, so that an idle process knows too.

Redis decides how much is too much, never whether the service works: while it does not answer, everything passes, and
each request that should have been counted is counted as a fall-open. After three failures nobody asks it for 5 s.
"""

import contextlib
import hashlib
import itertools
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import limits
import prometheus_client
import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from billing_site.kernel import errors

KEY: Final = "key"
TENANT: Final = "tenant"

_TIMEOUT_SECONDS: Final = 0.1
_FAILURES_TO_GO_AROUND: Final = 3
_AWAY_SECONDS: Final = 5.0
_PARTS: Final = 1000
_ALONE_SECONDS: Final = 1.0
_MAX_COUNTS: Final = 100_000
_PREFIX: Final = "billing"

# Adds to a window unless that is too much; what is given back may make no window of its own.
_SCRIPT: Final = """
local current = tonumber(redis.call('get', KEYS[1]) or '0')
local amount = tonumber(ARGV[1])
if amount < 0 and current < -amount then
    return {1, current, redis.call('pttl', KEYS[1])}
end
if amount > 0 and current + amount > tonumber(ARGV[2]) then
    return {0, current, redis.call('pttl', KEYS[1])}
end
local now_at = redis.call('incrby', KEYS[1], amount)
if redis.call('pttl', KEYS[1]) < 0 then
    redis.call('pexpire', KEYS[1], ARGV[3])
end
return {1, now_at, redis.call('pttl', KEYS[1])}
"""
_SCRIPT_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()

_log = logging.getLogger(__name__)

fall_opens = prometheus_client.Counter(
    "billing_rate_limit_fall_opens_total",
    "Requests that passed without being held to their rate limit, because Redis did not answer.",
)
refusals = prometheus_client.Counter(
    "billing_rate_limit_refusals_total",
    "Requests that were refused as over a rate limit.",
    ["limit"],
)


class RateLimited(errors.DomainError):
    """Over a limit: nothing was stored, and the same request may be sent again after a while."""

    status = 429
    code = "rate_limited"
    title = "Too many requests"

    def __init__(self, detail: str, *, standing: "Standing") -> None:
        super().__init__(detail)
        self.standing = standing


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where one stands with a limit: ``remaining`` of ``quota``, until it begins anew."""

    name: str
    quota: int
    window_seconds: int
    remaining: int
    reset_seconds: int


@dataclass(kw_only=True)
class _Count:
    """What this process knows of one window: what Redis counted, and what passed here that it was not told yet."""

    resets_at: float
    asked_at: float = -math.inf
    told: int = 0
    untold: int = 0


@dataclass(frozen=True, eq=False)
class _Asked:
    """A window that Redis is asked about: ``amount`` is the cost and what passed here before without being told."""

    item: limits.RateLimitItem
    who: str
    cost: int
    count: _Count
    amount: int


class Limiter:
    """Holds what passes this process to limits that all processes share. Safe to use from many threads."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),  # one quick answer or none
        )
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}
        self._failures = 0
        self._away_until = 0.0

    def take(self, name: str, items: Sequence[limits.RateLimitItem], costs: Mapping[str, int]) -> Standing | None:
        """
        Let ``costs`` (who, how much) pass under each of the limits, or nothing of it. Answers the tightest standing.

        Raises:
            RateLimited: someone would be over a limit.
        """
        now = time.monotonic()
        taken: list[tuple[limits.RateLimitItem, str, int, _Count]] = []
        asked: list[_Asked] = []
        with self._lock:
            self._sweep(now)
            for item, (who, cost) in itertools.product(items, costs.items()):
                count = self._count_of(item.key_for(name, who), item, now)
                count.untold += cost
                taken.append((item, who, cost, count))
                is_near = count.told + count.untold > item.amount
                is_alone = len(costs) == 1 and now - count.asked_at >= _ALONE_SECONDS
                if is_near or is_alone or count.untold * _PARTS >= item.amount:
                    count.asked_at = now
                    asked.append(_Asked(item, who, cost, count, count.untold))
                    count.untold = 0
        if asked and (refused := self._ask(name, asked)) is not None:
            with self._lock:
                asked_counts = {id(each.count) for each in asked}
                for _, _, cost, count in taken:
                    if id(count) not in asked_counts:
                        count.untold -= cost
            raise self._refusal(name, refused)
        standings = [_standing(name, item, count) for item, _, _, count in taken]
        return min(standings, key=lambda standing: standing.remaining / standing.quota, default=None)

    def _sweep(self, now: float) -> None:
        if len(self._counts) > _MAX_COUNTS:
            self._counts = {key: count for key, count in self._counts.items() if count.resets_at > now}
            if len(self._counts) > _MAX_COUNTS // 2:
                self._counts.clear()  # costs the limits a thousandth, once, and the process no memory

    def _count_of(self, key: str, item: limits.RateLimitItem, now: float) -> _Count:
        count = self._counts.get(key)
        if count is None or count.resets_at <= now:
            count = self._counts[key] = _Count(resets_at=now + item.get_expiry())
        return count

    def _ask(self, name: str, asked: Sequence[_Asked]) -> _Asked | None:
        """Have Redis count; answers the first that is over its limit, after nothing of this was taken."""
        try:
            if time.monotonic() < self._away_until:
                raise redis.ConnectionError("not asked: it did not answer lately")
            verdicts = self._count_in_redis(name, [(each.item, each.who, each.amount) for each in asked])
        except (redis.RedisError, OSError) as error:
            self._fall_open(error)
            with self._lock:
                for each in asked:
                    each.count.untold += each.amount
            return None
        now = time.monotonic()
        self._failures = 0
        refused = [each for each, (passed, _, _) in zip(asked, verdicts, strict=True) if not passed]
        with self._lock:
            for each, (passed, told, left) in zip(asked, verdicts, strict=True):
                each.count.told = told
                each.count.resets_at = now + (left if left > 0 else each.item.get_expiry())
                if not passed:
                    each.count.untold += each.amount - each.cost
                elif refused:
                    each.count.told -= each.cost
        if not refused:
            return None
        given_back = [each for each in asked if each not in refused]
        if given_back:
            with contextlib.suppress(redis.RedisError, OSError):  # then they are a little stricter until they reset
                self._count_in_redis(name, [(each.item, each.who, -each.cost) for each in given_back])
        return refused[0]

    def _count_in_redis(
        self, name: str, amounts: Sequence[tuple[limits.RateLimitItem, str, int]]
    ) -> list[tuple[bool, int, float]]:
        """For each, whether it passed, the window's count, and the seconds left of it. One round trip for all."""
        with self._client.pipeline(transaction=False) as pipe:
            for item, who, amount in amounts:
                key = f"{_PREFIX}:{item.key_for(name, who)}"
                pipe.evalsha(_SCRIPT_SHA, 1, key, amount, item.amount, item.get_expiry() * 1000)
            try:
                answers = pipe.execute()
            except redis.exceptions.NoScriptError:
                # A pipeline goes on after an error, but a script is unknown to all of its commands or to none.
                self._client.script_load(_SCRIPT)
                return self._count_in_redis(name, amounts)
        return [(bool(passed), int(told), left / 1000) for passed, told, left in answers]

    def _fall_open(self, error: Exception) -> None:
        fall_opens.inc()
        if time.monotonic() < self._away_until:
            return
        _log.warning("rate limits are not held: %s", error)
        self._failures += 1
        if self._failures >= _FAILURES_TO_GO_AROUND:
            self._failures = 0
            self._away_until = time.monotonic() + _AWAY_SECONDS

    def _refusal(self, name: str, refused: _Asked) -> RateLimited:
        refusals.labels(name).inc()
        what, whose = ("requests", "this API key") if name == KEY else ("events", f"the tenant {refused.who!r}")
        return RateLimited(
            f"over {refused.item.amount:,} {what} in {refused.item.get_expiry():,} s for {whose}; nothing was stored",
            standing=_standing(name, refused.item, refused.count),
        )


def _standing(name: str, item: limits.RateLimitItem, count: _Count) -> Standing:
    return Standing(
        name=name,
        quota=item.amount,
        window_seconds=item.get_expiry(),
        remaining=max(0, item.amount - count.told - count.untold),
        reset_seconds=max(1, math.ceil(count.resets_at - time.monotonic())),
    )


@cache
def parse(text: str) -> Sequence[limits.RateLimitItem]:
    """The limits of a text such as ``100/second; 10000/hour``; none of an empty one."""
    return tuple(limits.parse_many(text)) if text.strip() else ()


@cache
def _limiter(url: str) -> Limiter:
    return Limiter(url)


def take_request(*, key_id: str, rate_limit: str = "") -> Standing | None:
    """
    Count a request of an API key; ``rate_limit`` is the key's own limit in place of the service's.

    Raises:
        RateLimited: it is one too many.
    """
    items = parse(rate_limit or settings.RATE_LIMIT_KEY_REQUESTS)
    return _limiter(settings.RATE_LIMIT_REDIS_URL).take(KEY, items, {key_id: 1}) if items else None


def take_events(*, events_by_tenant: Mapping[str, int]) -> Standing | None:
    """
    Count the events of a batch, per tenant; all of them or none.

    Raises:
        RateLimited: they are too many for one of the tenants.
    """
    items = parse(settings.RATE_LIMIT_TENANT_EVENTS)
    return _limiter(settings.RATE_LIMIT_REDIS_URL).take(TENANT, items, events_by_tenant) if items else None


def headers_of(standings: Sequence[Standing]) -> dict[str, str]:
    """``RateLimit`` and ``RateLimit-Policy`` for an answer."""
    if not standings:
        return {}
    return {
        "RateLimit": ", ".join(f'"{s.name}";r={s.remaining};t={s.reset_seconds}' for s in standings),
        "RateLimit-Policy": ", ".join(f'"{s.name}";q={s.quota};w={s.window_seconds}' for s in standings),
    }
