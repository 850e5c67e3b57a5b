"""
Usage thresholds: a tenant's meter reaches a quantity in an hour, a day or a month (UTC), and someone is told, or the
door refuses more of it until the period ends.

What was reached is read from the usage summaries, so a threshold fires after aggregation: a quota stops a tenant within
a minute or two, not at the very event. Each fires once a period; usage that is voided after that does not unfire it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from django.db import connection

from billing_site.kernel import clock


def refused_pairs(*, now: datetime) -> Mapping[tuple[str, str], str]:
    """
    The pairs of tenant and event type whose quota is used up at ``now``, each with why, for the door.

    An event is refused by when it arrives, whatever its timestamp; as a dead letter it can be replayed later.
    """
    with connection.cursor() as cursor:
        cursor.execute(_REFUSED, {"now": now})
        return {
            (tenant_id, event_type): (
                f"quota: {quantity:,} of {meter!r} a {period} was reached; more is refused until "
                f"{clock.format_instant(period_end)} ({threshold_id})"
            )
            for tenant_id, event_type, meter, period, quantity, period_end, threshold_id in cursor.fetchall()
        }


# From the index of firings whose period has not ended; the one that ends last is told of.
_REFUSED: Final = """
    SELECT
        threshold.tenant_id, threshold.event_type, threshold.meter, threshold.period, threshold.quantity,
        firing.period_end, threshold.id
    FROM metering_threshold_firing AS firing
    JOIN metering_usage_threshold AS threshold ON threshold.id = firing.threshold_id
    WHERE firing.period_end > %(now)s AND firing.period_start <= %(now)s
        AND threshold.action = 'refuse' AND threshold.deactivated_at IS NULL
    ORDER BY firing.period_end, threshold.id
"""
