"""The operators' commands and the tasks that beat starts: the same calls."""

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from invoicing import models, tasks
from tests.factories import invoicing as factories
from tests.factories.invoicing import NOVEMBER
from tests.invoicing import usage

pytestmark = pytest.mark.django_db


def _run(*arguments: str) -> dict[str, Any]:
    printed = StringIO()
    call_command(*arguments, "--json", stdout=printed)
    report: dict[str, Any] = json.loads(printed.getvalue())
    return report


class TestGenerateInvoices:
    def test_tells_what_it_did_as_of_a_time(self) -> None:
        factories.subscribe(factories.TenantFactory.create(), factories.make_plan(factories.PER_CALL))

        assert _run("generate_invoices", "--as-of", "2026-12-01T00:00:00Z") == {
            "as_of": "2026-12-01T00:00:00Z",
            "drafted": 1,
            "refreshed": 0,
            "passed": 1,
            "late": 0,
            "failed": 0,
            "failures": [],
            "needs_person": False,
        }
        assert _run("generate_invoices", "--as-of", "2026-12-01T00:00:00Z")["drafted"] == 0

    def test_exits_non_zero_when_something_needs_a_person(self) -> None:
        tenant = factories.TenantFactory.create()
        dear = {**factories.PER_CALL, "unit_amount_cents": "1" + "0" * 15}
        factories.subscribe(tenant, factories.make_plan(dear))
        usage.use(tenant.id, "api_call", 2, NOVEMBER)

        with pytest.raises(SystemExit, match="1"):
            _run("generate_invoices", "--as-of", "2026-12-01T00:00:00Z")

    def test_refuses_a_time_without_offset(self) -> None:
        with pytest.raises(CommandError):
            _run("generate_invoices", "--as-of", "2026-12-01T00:00:00")


class TestFinalizeInvoices:
    def test_tells_what_it_did_as_of_a_time(self) -> None:
        factories.make_draft()

        assert _run("finalize_invoices", "--as-of", "2026-11-02T23:59:59Z")["finalized"] == 0
        assert _run("finalize_invoices", "--as-of", "2026-11-03T00:00:00Z") == {
            "as_of": "2026-11-03T00:00:00Z",
            "finalized": 1,
            "waiting": 0,
            "failed": 0,
            "failures": [],
            "needs_person": False,
        }


class TestTasks:
    def test_bill_by_the_clock(self) -> None:
        tenant = factories.TenantFactory.create(grace_hours=0)
        start = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        factories.subscribe(tenant, factories.make_plan(base_fee_cents=500), starts_at=start)

        tasks.generate_invoices()
        tasks.finalize_invoices()

        assert models.Invoice.objects.get().status == "open"
