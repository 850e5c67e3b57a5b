"""Series: the small number that stands for a tenant and an event type in each event."""

from collections.abc import Collection
from datetime import datetime
from functools import partial
from typing import Final

from django.db import connection, transaction

# By database: a number is good for one database only, and only once it is committed.
_cached: Final[dict[int, dict[tuple[str, str], int]]] = {}
_CACHE_LIMIT: Final = 200_000


def resolve(*, pairs: Collection[tuple[str, str]], database_id: int, now: datetime) -> dict[tuple[str, str], int]:
    """
    The series of each (tenant, event type), made where there is none.

    Locks: the new rows, in order; another writer of the same new series waits for this transaction.
    Requires an open transaction. A number is remembered by the process only after the commit.
    """
    cache = _cached.setdefault(database_id, {})
    known = {pair: cache[pair] for pair in pairs if pair in cache}
    unknown = sorted(pair for pair in pairs if pair not in known)
    if not unknown:
        return known
    found = _find(unknown)
    if missing := [pair for pair in unknown if pair not in found]:
        _insert(missing, now)
        found |= _find(missing)  # in a statement of its own, which sees what another writer committed meanwhile
    transaction.on_commit(partial(_remember, cache, found))
    return known | found


def _find(pairs: list[tuple[str, str]]) -> dict[tuple[str, str], int]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT series.tenant_id, series.event_type, series.id
            FROM unnest(%s::text[], %s::text[]) AS wanted(tenant_id, event_type)
            JOIN metering_series AS series USING (tenant_id, event_type)
            """,
            [[tenant_id for tenant_id, _ in pairs], [event_type for _, event_type in pairs]],
        )
        return {(tenant_id, event_type): series_id for tenant_id, event_type, series_id in cursor.fetchall()}


def _insert(pairs: list[tuple[str, str]], now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_series (tenant_id, event_type, created_at)
            SELECT tenant_id, event_type, %s FROM unnest(%s::text[], %s::text[]) AS wanted(tenant_id, event_type)
            ON CONFLICT (tenant_id, event_type) DO NOTHING
            """,
            [now, [tenant_id for tenant_id, _ in pairs], [event_type for _, event_type in pairs]],
        )


def _remember(cache: dict[tuple[str, str], int], found: dict[tuple[str, str], int]) -> None:
    if len(cache) + len(found) > _CACHE_LIMIT:
        cache.clear()
    cache.update(found)
