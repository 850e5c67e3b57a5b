"""The outbox: facts left in the transaction that made them true, for whoever sends or counts them later."""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from billing_site.kernel import models


def leave(
    *,
    topic: str,
    tenant_id: str,
    reference_id: str,
    payload: Mapping[str, object],
    now: datetime,
) -> models.OutboxMessage:
    """
    Write one message beside the fact it tells of.

    Requires an open transaction: a message without its fact, or a fact without its message, would be a lie.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("an outbox message belongs into the transaction of its fact")
    return models.OutboxMessage.objects.create(
        topic=topic,
        tenant_id=tenant_id,
        reference_id=reference_id,
        payload=dict(payload),
        created_at=now,
    )
