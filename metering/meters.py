"""
Meters: what is counted of events beyond the sum that each event type has without being made.

A meter never changes, because what was counted by it would mean two things; another rule is another meter. It counts
for all tenants, and for the events that were there before it: ``slices`` works these off, a bounded number in each run.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from django.db import IntegrityError, connection, transaction

from billing_site.kernel import database
from metering import aggregation, errors, ingestion, models

MAX_GROUPS: Final = 3
MAX_FILTERS: Final = 10
MAX_ACCEPTED: Final = 100


def create_meter(
    *,
    code: str,
    event_type: str,
    aggregation_kind: models.Aggregation,
    property_name: str,
    filters: Mapping[str, Sequence[str]],
    group_by: Sequence[str],
    now: datetime,
) -> models.Meter:
    """
    Make a meter, and have it counted for the events that are there.

    Locks: every shard of aggregation until the transaction ends, so that no summary of an event type by the same name
    comes up meanwhile; waits for the slices that are running. Opens its own transaction, or joins the caller's.

    Raises:
        errors.MeterExists: the code is taken.
        errors.MeterCodeIsEventType: events of that type were sent, whose own meter has the name.
    """
    with transaction.atomic():
        aggregation.lock_shards()
        if models.Series.objects.filter(event_type=code).exists():
            raise errors.MeterCodeIsEventType(f"code: {code!r} is an event type in use, which has a meter of its own")
        try:
            with transaction.atomic():
                meter = models.Meter.objects.create(
                    code=code,
                    event_type=event_type,
                    aggregation=aggregation_kind,
                    property=property_name,
                    filters={name: sorted(set(accepted)) for name, accepted in filters.items()},
                    group_by=sorted(group_by),
                    created_at=now,
                )
        except IntegrityError as error:
            if "code" not in (database.raised_constraint(error) or ""):
                raise
            raise errors.MeterExists(f"code: there is a meter {code!r}, and a meter never changes") from error
        _begin_backfill(meter)
    return meter


def get_meter(code: str) -> models.Meter:
    """
    One meter.

    Raises:
        errors.MeterNotFound: there is none with this code.
    """
    meter = models.Meter.objects.filter(code=code).first()
    if meter is None:
        raise errors.MeterNotFound(f"no meter {code!r}")
    return meter


def is_backfilled(meter: models.Meter) -> bool:
    """Whether the meter has counted the events that were there before it."""
    return not models.MeterBackfill.objects.filter(meter=meter, finished_at=None).exists()


def _begin_backfill(meter: models.Meter) -> None:
    """No event of a series was accepted before the series was made."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_meter_backfill (meter_id, shard, started_at, series_id, event_hour, windows)
            SELECT %s, series.id %% %s, min(series.created_at), 0, 0, 0
            FROM metering_series AS series
            WHERE series.event_type = %s
            GROUP BY series.id %% %s
            """,
            [meter.pk, ingestion.SHARDS, meter.event_type, ingestion.SHARDS],
        )
