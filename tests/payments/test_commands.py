"""The operators' commands, and the tasks that make the same calls."""

import json
from io import StringIO

import pytest
from django.core.management import call_command

from payments import tasks
from payments.models import ProviderMessage
from tests.factories import payments as factories
from tests.payments.support import NOW, assert_paid_once, status_of
from tests.stand_ins.stripe import launch

pytestmark = pytest.mark.django_db


def run(command: str, *options: str) -> dict[str, object]:
    out = StringIO()
    call_command(command, "--json", *options, stdout=out)
    report: dict[str, object] = json.loads(out.getvalue())
    return report


class TestCollectPayments:
    def test_it_collects_as_of_a_moment(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        report = run("collect_payments", "--as-of", "2026-11-01T06:00:00Z")
        assert (report["as_of"], report["enrolled"], report["paid"]) == ("2026-11-01T06:00:00Z", 1, 1)
        assert run("collect_payments")["worked"] == 0
        assert_paid_once(invoice, stripe)

    def test_it_exits_with_1_when_a_person_must_look(self, stripe: launch.StandIn) -> None:
        factories.CollectionFactory.create(quarantined_at=NOW, next_attempt_at=None)
        with pytest.raises(SystemExit) as left:
            run("collect_payments")
        assert left.value.code == 1

    def test_the_task_makes_the_same_call(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        tasks.collect_payments()
        assert status_of(invoice) == "paid"


class TestProcessWebhooks:
    def test_it_works_off_what_is_due(self, stripe: launch.StandIn) -> None:
        factories.ProviderMessageFactory.create(event_type="customer.created")
        report = run("process_webhooks")
        assert (report["worked"], report["ignored"], report["needs_person"]) == (1, 1, False)

    def test_it_exits_with_1_when_something_is_quarantined(self, stripe: launch.StandIn) -> None:
        factories.ProviderMessageFactory.create(quarantined_at=NOW, next_attempt_at=None)
        with pytest.raises(SystemExit):
            run("process_webhooks")

    def test_the_task_makes_the_same_call(self, stripe: launch.StandIn) -> None:
        message = factories.ProviderMessageFactory.create(event_type="customer.created")
        tasks.process_webhooks()
        assert ProviderMessage.objects.get(pk=message.pk).status == "ignored"
