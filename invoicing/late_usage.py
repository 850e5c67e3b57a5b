"""
Usage that changes after it was looked at: drafts follow it, finalized invoices count it as late and stay as they are.

Metering knows no invoices. It appends a row for each window that came out differently; invoicing reads these after its
cursor and leaves a due row for each invoice whose period holds such a window. What is late is then recomputed: what the
meters say now, less what the invoice billed. So a window that is read twice changes nothing, and none is lost:

* a draft that is being made, or an invoice that is being finalized, while a window is read is not seen as what it will
  be. The draft leaves a due row of its own; that of the invoice waits until the finalization has committed.
* a due row that comes while its invoice is worked waits for that work, and is there when it has committed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final

from django.db import connection
from django.db.models import Count, Sum
from django.db.models.functions import Abs

from billing_site.kernel import database
from invoicing import metered_usage, models
from metering import errors as metering_errors
from metering import ingestion, usage

_SLICE_WINDOWS: Final = 5_000
_WINDOWS_ARE_SURELY_KEPT: Final = timedelta(days=5)  # metering keeps them for a week
_USAGE_MAY_COME_FOR: Final = timedelta(days=400)  # longer than an event's key is kept


@dataclass(frozen=True, kw_only=True)
class LateMeter:
    """
    What a finalized invoice billed of a meter, and what came after it.

    The counts of events are None for invoices that were finalized before these were kept.
    """

    meter: str
    billed_quantity: Decimal
    billed_event_count: int | None
    late_quantity: Decimal
    late_event_count: int | None
    changed_at: datetime | None


def notice_changed_usage(*, now: datetime, slice_windows: int = _SLICE_WINDOWS) -> int:
    """
    Leave a due row for each invoice whose usage changed since the last call; how many windows were read.

    Where nobody read for so long that windows may be gone, and at the first call, every invoice is looked at again.
    Idempotency: the cursor and the due rows go together; one reader at a time, another leaves the work to it.
    Locks: the cursor of a shard. Opens a transaction for each slice.
    """
    noticed = 0
    for shard in range(ingestion.SHARDS):
        while True:
            read = database.retrying(partial(_notice_slice, shard, now, slice_windows))
            noticed += read
            if read < slice_windows:
                break
    return noticed


def leave_change(*, invoice: models.Invoice, now: datetime) -> None:
    """Have an invoice looked at by the next sweep. Requires an open transaction."""
    models.UsageChange.objects.bulk_create([models.UsageChange(invoice=invoice, noticed_at=now)], ignore_conflicts=True)


def list_changed() -> list[str]:
    """The invoices whose usage changed and which nobody has worked since."""
    return list(models.UsageChange.objects.order_by("invoice_id").values_list("invoice_id", flat=True))


def take_change(invoice: models.Invoice) -> None:
    """
    Take an invoice's due row, before its usage is read.

    What changes from here on leaves a new one. Requires an open transaction and the caller's lock on the invoice.
    """
    models.UsageChange.objects.filter(pk=invoice.pk).delete()


def record_billed(*, invoice: models.Invoice, totals: Mapping[str, usage.UsageTotal]) -> None:
    """Keep what the meters said when an invoice was finalized. Requires the transaction of its finalization."""
    models.BilledUsage.objects.bulk_create(
        models.BilledUsage(invoice=invoice, meter=meter, quantity=total.quantity, event_count=total.event_count)
        for meter, total in sorted(totals.items())
    )


def count_late_usage(*, invoice: models.Invoice, now: datetime) -> bool:
    """
    Bring a finalized invoice's late usage up to what the meters say now; whether anything changed.

    What was billed does not change. Idempotency: by recomputing. Requires the caller's lock on the invoice.
    """
    try:
        totals = metered_usage.of_invoice(invoice)
    except metering_errors.UsageArchived:
        return False  # events of the period are archived, and so take no event: nothing can have come late
    known = {late.meter: late for late in invoice.late_usage.all()}
    changed = False
    for billed in sorted(invoice.billed_usage.all(), key=lambda billed: billed.meter):
        total = totals.get(billed.meter, usage.UsageTotal(0, 0))
        quantity = total.quantity - billed.quantity
        event_count = None if billed.event_count is None else total.event_count - billed.event_count
        late = known.get(billed.meter)
        if (late.quantity, late.event_count) == (quantity, event_count) if late else not (quantity or event_count):
            continue
        changed = True
        models.LateUsage.objects.update_or_create(
            invoice=invoice,
            meter=billed.meter,
            defaults={"quantity": quantity, "event_count": event_count, "changed_at": now},
            create_defaults={
                "quantity": quantity,
                "event_count": event_count,
                "first_noticed_at": now,
                "changed_at": now,
            },
        )
    return changed


def list_late_usage(invoice: models.Invoice) -> Sequence[LateMeter]:
    """Each meter that an invoice billed, with what came after; empty for a draft, of which nothing is late yet."""
    late = {row.meter: row for row in invoice.late_usage.all()}
    return [
        LateMeter(
            meter=billed.meter,
            billed_quantity=billed.quantity,
            billed_event_count=billed.event_count,
            late_quantity=late[billed.meter].quantity if billed.meter in late else Decimal(0),
            late_event_count=late[billed.meter].event_count if billed.meter in late else _none_late(billed),
            changed_at=late[billed.meter].changed_at if billed.meter in late else None,
        )
        for billed in sorted(invoice.billed_usage.all(), key=lambda billed: billed.meter)
    ]


def count_late() -> Mapping[str, int]:
    """
    How many finalized invoices have late usage now, and by how many events: more or fewer, both count. By an index.
    """
    late_now = models.LateUsage.objects.filter(models.LateUsage.is_late_now())
    counted = late_now.aggregate(invoices=Count("invoice_id", distinct=True), events=Sum(Abs("event_count")))
    return {"invoices": counted["invoices"], "events": int(counted["events"] or 0)}


def _none_late(billed: models.BilledUsage) -> int | None:
    return None if billed.event_count is None else 0


def _notice_slice(shard: int, now: datetime, slice_windows: int) -> int:
    """How many windows were read; none when another reader is at it."""
    _, is_new = models.UsageCursor.objects.get_or_create(shard=shard, defaults={"read_at": now})
    cursor = models.UsageCursor.objects.select_for_update(skip_locked=True).filter(shard=shard).first()
    if cursor is None:
        return 0
    if is_new or now - cursor.read_at > _WINDOWS_ARE_SURELY_KEPT:
        _leave_change_everywhere(now)
    windows = usage.list_changed_windows(shard=shard, after_id=cursor.window_id, limit=slice_windows)
    _leave_changes(windows, now)
    cursor.window_id = windows[-1].id if windows else cursor.window_id
    cursor.read_at = max(now, cursor.read_at)
    cursor.save(update_fields=["window_id", "read_at"])
    return len(windows)


def _leave_change_everywhere(now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO invoicing_usage_change (invoice_id, noticed_at)
            SELECT id, %(now)s::timestamptz
            FROM invoicing_invoice
            WHERE boundary_at = period_end AND status <> 'void' AND subscription_id IS NOT NULL
                AND period_end > %(since)s
            ORDER BY id
            ON CONFLICT (invoice_id) DO NOTHING
            """,
            {"now": now, "since": now - _USAGE_MAY_COME_FOR},
        )


def _leave_changes(windows: Sequence[usage.ChangedWindow], now: datetime) -> None:
    """
    A due row for each invoice that bills a meter of its tenant in a period that holds one of the windows.

    Voided invoices bill nothing any more. In the order of their ids, so that two who leave rows do not deadlock.
    """
    if not windows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO invoicing_usage_change (invoice_id, noticed_at)
            SELECT DISTINCT invoice.id, %(now)s::timestamptz
            FROM unnest(%(tenants)s::text[], %(meters)s::text[], %(starts)s::timestamptz[])
                AS changed(tenant_id, meter, starts_at)
            JOIN invoicing_invoice AS invoice ON invoice.tenant_id = changed.tenant_id
            JOIN invoicing_subscription AS subscription ON subscription.id = invoice.subscription_id
            JOIN invoicing_price AS price
                ON price.plan_version_id = subscription.plan_version_id AND price.meter = changed.meter
            WHERE invoice.boundary_at = invoice.period_end
                AND invoice.status <> 'void'
                AND changed.starts_at + interval '1 hour' > invoice.period_start
                AND changed.starts_at < invoice.period_end
            ORDER BY invoice.id
            ON CONFLICT (invoice_id) DO NOTHING
            """,
            {
                "now": now,
                "tenants": [window.tenant_id for window in windows],
                "meters": [window.meter for window in windows],
                "starts": [window.period_start for window in windows],
            },
        )
