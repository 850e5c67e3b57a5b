"""Many at once: of tenants, plans and subscriptions one is made, and a deadlock costs nobody an invoice."""

from collections import Counter
from datetime import timedelta

import psycopg
from django.db import transaction

from invoicing import catalog, drafting, finalization, models, subscriptions, tenants
from ledger.models import Transaction
from tests.factories import invoicing as factories
from tests.factories.invoicing import DECEMBER, NOVEMBER
from tests.invoicing import usage
from tests.support import deadlocks, threads


class TestCreateTenant:
    def test_makes_one_of_equals(self, committed_db: str) -> None:
        terms = tenants.TenantTerms(name="Acme", currency="USD")

        made = threads.run_together([lambda: tenants.create_tenant(tenant_id="acme", terms=terms, now=NOVEMBER)] * 8)

        assert {tenant.pk for tenant in made if isinstance(tenant, models.Tenant)} == {"acme"}
        assert len([tenant for tenant in made if isinstance(tenant, models.Tenant)]) == 8

    def test_lets_one_of_rivals_through(self, committed_db: str) -> None:
        def make(name: str) -> models.Tenant:
            terms = tenants.TenantTerms(name=name, currency="USD")
            return tenants.create_tenant(tenant_id="acme", terms=terms, now=NOVEMBER)

        made = threads.run_together([lambda n=n: make(f"Acme {n}") for n in range(8)])  # type: ignore[misc]

        assert Counter(type(outcome).__name__ for outcome in made) == {"Tenant": 1, "TenantExists": 7}


class TestCreatePlan:
    def test_makes_one_of_equals(self, committed_db: str) -> None:
        made = threads.run_together([lambda: factories.make_plan(factories.PER_CALL, code="standard")] * 8)

        assert Counter(type(outcome).__name__ for outcome in made) == {"PlanVersion": 8}
        assert (models.PlanVersion.objects.count(), models.Price.objects.count()) == (1, 1)


class TestCreatePlanVersion:
    def test_numbers_versions_without_gap(self, committed_db: str) -> None:
        factories.make_plan(factories.PER_CALL, code="standard")
        terms = catalog.PlanTerms(name="Next", currency="USD", interval="month")

        def make() -> int:
            with transaction.atomic():
                return catalog.create_plan_version(code="standard", terms=terms, now=NOVEMBER).version

        assert sorted(map(str, threads.run_together([make] * 8))) == ["2", "3", "4", "5", "6", "7", "8", "9"]


class TestCreateSubscription:
    def test_bills_one_tenant_once(self, committed_db: str) -> None:
        tenant, plan = factories.TenantFactory.create(), factories.make_plan(factories.PER_CALL)

        def subscribe() -> models.Subscription:
            with transaction.atomic():
                return subscriptions.create_subscription(
                    tenant_id=tenant.id, plan_code=plan.plan_id, starts_at=NOVEMBER, metadata={}, now=NOVEMBER
                )

        made = threads.run_together([subscribe] * 8)

        assert Counter(type(outcome).__name__ for outcome in made) == {"Subscription": 1, "SubscriptionExists": 7}


class TestFinalizeInvoices:
    def test_runs_again_what_a_deadlock_undid(self, committed_db: str, superuser_cursor: psycopg.Cursor) -> None:
        tenant = factories.TenantFactory.create()
        factories.subscribe(tenant, factories.make_plan(factories.PER_CALL))
        usage.use(tenant.id, "api_call", 42, NOVEMBER)
        drafting.generate_invoices(now=DECEMBER)

        with deadlocks.provoked(superuser_cursor, held=deadlocks.POSTINGS_OF_MAIN, wanted=deadlocks.INVOICES):
            report = finalization.finalize_invoices(now=DECEMBER + timedelta(days=3))

        assert (report.finalized, report.failed) == (1, 0)
        assert Transaction.objects.get().amount_cents == 42
