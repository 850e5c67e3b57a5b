"""Messages live and die with their fact."""

from datetime import UTC, datetime

import pytest
from django.db import transaction

from billing_site.kernel import models, outbox

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def leave() -> models.OutboxMessage:
    return outbox.leave(topic="invoice.paid", tenant_id="acme", reference_id="inv_1", payload={"a": 1}, now=NOW)


class TestLeave:
    def test_goes_with_its_transaction(self, committed_db: str) -> None:
        def fail() -> None:
            with transaction.atomic():
                leave()
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert not models.OutboxMessage.objects.exists()
        with transaction.atomic():
            message = leave()
        stored = models.OutboxMessage.objects.get()
        assert stored.pk == message.pk
        assert (stored.payload, stored.created_at) == ({"a": 1}, NOW)

    def test_refuses_to_stand_alone(self, committed_db: str) -> None:
        with pytest.raises(transaction.TransactionManagementError):
            leave()
