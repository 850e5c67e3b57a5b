"""The outbox: facts left in the transaction that made them true, for whoever sends or counts them later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from billing_site.kernel import models


@dataclass(frozen=True, kw_only=True)
class Message:
    """One of many messages of a topic."""

    tenant_id: str
    reference_id: str
    payload: Mapping[str, object]


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
    _require_transaction()
    return models.OutboxMessage.objects.create(
        topic=topic,
        tenant_id=tenant_id,
        reference_id=reference_id,
        payload=dict(payload),
        created_at=now,
    )


def leave_many(*, topic: str, messages: Sequence[Message], now: datetime) -> None:
    """
    Write many messages of one topic at once, for facts that come by the thousand.

    Requires an open transaction, as ``leave`` does.
    """
    _require_transaction()
    models.OutboxMessage.objects.bulk_create(
        [
            models.OutboxMessage(
                topic=topic,
                tenant_id=message.tenant_id,
                reference_id=message.reference_id,
                payload=dict(message.payload),
                created_at=now,
            )
            for message in messages
        ],
        batch_size=1_000,
    )


def _require_transaction() -> None:
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("an outbox message belongs into the transaction of its fact")
