"""What the database holds to, whoever writes: every rule is attacked with raw SQL, by the owner of the tables."""

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from billing_site.kernel import database
from invoicing import models
from tests.factories import invoicing as factories
from tests.factories.invoicing import DECEMBER, NOVEMBER


def _refusal(statement: str, *arguments: str | None) -> str | None:
    """The constraint that refused the service's own statement."""
    with pytest.raises(IntegrityError) as refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, arguments)
    return database.raised_constraint(refused.value)


FROZEN_COLUMNS = [
    ("number", "'INV-2026-999999'"),
    ("book", "'other'"),
    ("currency", "'EUR'"),
    ("subtotal_cents", "subtotal_cents + 1"),
    ("discount_cents", "1"),
    ("tax_cents", "1"),
    ("total_cents", "total_cents - 1"),
    ("discounts", """'[{"coupon": "X", "amount_cents": 1}]'"""),
    ("taxes", """'[{"name": "VAT"}]'"""),
    ("period_start", "period_start - interval '1 day'"),
    ("period_end", "period_end + interval '1 day'"),
    ("boundary_at", "boundary_at + interval '1 day'"),
    ("revision", "revision + 1"),
    ("finalizes_at", "finalizes_at + interval '1 day'"),
    ("finalized_at", "finalized_at + interval '1 day'"),
    ("due_at", "due_at + interval '1 day'"),
    ("created_at", "created_at - interval '1 day'"),
]


@pytest.mark.django_db
class TestFinalizedInvoice:
    @pytest.mark.parametrize(("column", "value"), FROZEN_COLUMNS)
    def test_keeps_its_money_number_and_periods(self, column: str, value: str) -> None:
        invoice = factories.make_open_invoice()

        refused_by = _refusal(f"UPDATE invoicing_invoice SET {column} = {value} WHERE id = %s", invoice.id)

        assert refused_by == "invoicing_finalized_invoice_is_frozen"

    def test_freezes_every_column_but_those_that_settlement_moves(self) -> None:
        settled = {
            "status", "paid_at", "credits_applied_cents", "amount_credited_cents", "amount_paid_cents",
            "amount_due_cents", "metadata",
        }  # fmt: skip
        guarded = {"id", "tenant_id", "subscription_id"} | {column for column, _ in FROZEN_COLUMNS}

        assert {field.column for field in models.Invoice._meta.concrete_fields} == settled | guarded

    @pytest.mark.parametrize("column", ["id", "tenant_id"])
    def test_keeps_its_identity(self, column: str) -> None:
        invoice = factories.make_open_invoice()

        refused_by = _refusal(f"UPDATE invoicing_invoice SET {column} = 'other' WHERE id = %s", invoice.id)

        assert refused_by == "invoicing_invoice_keeps_its_identity"

    def test_keeps_its_subscription(self) -> None:
        invoice, other = factories.make_open_invoice(), factories.make_open_invoice()

        refused_by = _refusal(
            "UPDATE invoicing_invoice SET subscription_id = %s WHERE id = %s", other.subscription_id, invoice.id
        )

        assert refused_by == "invoicing_finalized_invoice_is_frozen"

    def test_is_not_deleted(self) -> None:
        invoice = factories.make_open_invoice()

        refused_by = _refusal("DELETE FROM invoicing_invoice WHERE id = %s", invoice.id)

        assert refused_by == "invoicing_numbered_invoice_is_not_deleted"

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE invoicing_line_item SET amount_cents = amount_cents + 1",
            "UPDATE invoicing_line_item SET description = 'nothing'",
            "DELETE FROM invoicing_line_item",
            """INSERT INTO invoicing_line_item
               SELECT 'li_forged', position + 1, kind, meter, description, quantity, unit_amount_cents,
                      unrounded_amount_cents, amount_cents, tiers, calculation, period_start, period_end,
                      invoice_id, price_id
                 FROM invoicing_line_item""",
        ],
    )
    def test_keeps_its_lines(self, statement: str) -> None:
        factories.make_open_invoice()

        assert _refusal(statement) == "invoicing_finalized_invoice_keeps_its_lines"

    def test_gives_no_line_to_a_draft(self) -> None:
        factories.make_open_invoice()
        draft = factories.make_draft()
        models.LineItem.objects.filter(invoice=draft).delete()

        refused_by = _refusal("UPDATE invoicing_line_item SET invoice_id = %s", draft.id)

        assert refused_by == "invoicing_finalized_invoice_keeps_its_lines"

    @pytest.mark.parametrize(
        "change",
        [
            "status = 'draft', number = NULL, finalized_at = NULL, due_at = NULL",
            "status = 'paid'",
            "amount_due_cents = 0",
            "amount_paid_cents = amount_paid_cents + 1",
            "amount_paid_cents = -1, amount_due_cents = amount_due_cents + 1",
            "amount_paid_cents = 1001, amount_due_cents = -1",
            "amount_paid_cents = 1000, amount_due_cents = 0",
            "paid_at = now()",
        ],
    )
    def test_is_settled_only_by_figures_that_add_up(self, change: str) -> None:
        invoice = factories.make_open_invoice(amount_cents=1000)

        assert _refusal(f"UPDATE invoicing_invoice SET {change} WHERE id = %s", invoice.id)

    def test_takes_a_payment(self) -> None:
        invoice = factories.make_open_invoice(amount_cents=1000)

        with connection.cursor() as cursor:
            cursor.execute(
                """UPDATE invoicing_invoice SET status = 'paid', paid_at = now(), amount_paid_cents = 1000,
                   amount_due_cents = 0 WHERE id = %s""",
                [invoice.id],
            )

    @pytest.mark.parametrize("status", ["paid", "void", "uncollectible"])
    def test_follows_its_lifecycle(self, status: str) -> None:
        invoice = factories.make_open_invoice()
        paid = ", paid_at = now(), amount_paid_cents = 1000, amount_due_cents = 0" if status == "paid" else ""
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE invoicing_invoice SET status = '{status}'{paid}")
        back = "void" if status != "void" else "open"
        unpaid = ", paid_at = NULL, amount_paid_cents = 0, amount_due_cents = 1000"

        refused_by = _refusal(f"UPDATE invoicing_invoice SET status = '{back}'{unpaid} WHERE id = %s", invoice.id)

        assert refused_by == "invoicing_invoice_follows_its_lifecycle"

    def test_must_be_the_sum_of_its_lines(self) -> None:
        draft = factories.make_draft(amount_cents=1000)

        refused_by = _refusal(
            """UPDATE invoicing_invoice SET status = 'open', number = 'INV-2026-000001', finalized_at = now(),
               due_at = now(), subtotal_cents = 5, total_cents = 5, amount_due_cents = 5 WHERE id = %s""",
            draft.id,
        )

        assert refused_by == "invoicing_invoice_is_the_sum_of_its_lines"


class TestRulesAgainstSuperusers:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE invoicing_invoice SET subtotal_cents = 1, total_cents = 1, amount_due_cents = 1",
            "DELETE FROM invoicing_invoice",
            "UPDATE invoicing_line_item SET amount_cents = 1",
            "DELETE FROM invoicing_line_item",
            "TRUNCATE invoicing_line_item CASCADE",
            "TRUNCATE invoicing_invoice CASCADE",
            "UPDATE invoicing_price SET meter = 'other'",
            "UPDATE invoicing_price SET definition = '{}'",
            "DELETE FROM invoicing_price",
            "UPDATE invoicing_plan_version SET base_fee_cents = 1",
            "DELETE FROM invoicing_plan_version",
            "UPDATE invoicing_plan SET code = 'other'",
            "DELETE FROM invoicing_plan",
            "TRUNCATE invoicing_plan CASCADE",
            "UPDATE invoicing_number_series SET last_number = 0",
            "DELETE FROM invoicing_number_series",
            "UPDATE invoicing_tenant SET currency = 'EUR'",
        ],
    )
    def test_hold_with_replication_role_replica(
        self, committed_db: str, superuser_cursor: psycopg.Cursor, statement: str
    ) -> None:
        plan = factories.make_plan(factories.PER_CALL)
        factories.make_open_invoice()
        superuser_cursor.execute("SET session_replication_role = replica")

        with pytest.raises(psycopg.errors.CheckViolation):
            superuser_cursor.execute(statement.encode())

        assert models.Price.objects.get().plan_version_id == plan.id
        assert models.LineItem.objects.get().amount_cents == 1000

    def test_let_no_line_in_while_an_invoice_is_being_finalized(self, committed_db: str) -> None:
        draft = factories.make_draft()
        line = models.LineItem.objects.get()
        running = connection.copy()
        try:
            with transaction.atomic():
                # Another session must wait for a finalization that is under way; it would be refused thereafter.
                with running.cursor() as cursor:
                    cursor.execute("SET lock_timeout = '200ms'")
                models.Invoice.objects.filter(pk=draft.pk).update(
                    status="open", number="INV-2026-000001", finalized_at=NOVEMBER, due_at=NOVEMBER
                )
                with running.cursor() as cursor, pytest.raises(Exception, match="lock timeout"):
                    cursor.execute("UPDATE invoicing_line_item SET amount_cents = 1 WHERE id = %s", [line.id])
        finally:
            running.close()

        assert models.LineItem.objects.get().amount_cents == 1000


@pytest.mark.django_db
class TestInvoice:
    def test_begins_as_a_draft(self) -> None:
        with pytest.raises(IntegrityError) as refused, transaction.atomic():
            factories.InvoiceFactory.create(
                status="open", number="INV-2026-000001", finalized_at=DECEMBER, due_at=DECEMBER
            )

        assert database.raised_constraint(refused.value) == "invoicing_invoice_begins_as_draft"

    def test_is_made_once_per_boundary_and_revision(self) -> None:
        invoice = factories.InvoiceFactory.create()

        with pytest.raises(IntegrityError) as refused, transaction.atomic():
            factories.InvoiceFactory.create(subscription=invoice.subscription)

        assert database.raised_constraint(refused.value) == "invoicing_invoice_once_per_boundary"

    @pytest.mark.parametrize(
        ("fields", "constraint"),
        [
            ({"total_cents": 1, "amount_due_cents": 1}, "invoicing_invoice_total_adds_up"),
            ({"subtotal_cents": 1, "total_cents": 1}, "invoicing_invoice_amount_due_adds_up"),
            (
                {"subtotal_cents": -1, "total_cents": -1, "amount_due_cents": -1},
                "invoicing_invoice_amounts_are_not_negative",
            ),
            ({"number": "INV-2026-000001"}, "invoicing_invoice_is_numbered_unless_draft"),
            ({"status": "lost"}, "invoicing_invoice_begins_as_draft"),
            ({"period_start": DECEMBER, "period_end": NOVEMBER}, "invoicing_invoice_period_is_not_reversed"),
            ({"boundary_at": None}, "invoicing_invoice_of_a_subscription_has_a_boundary"),
            ({"currency": "EUR"}, "invoicing_invoice_is_in_its_tenants_currency"),
        ],
    )
    def test_is_refused_where_it_makes_no_sense(self, fields: dict[str, object], constraint: str) -> None:
        with pytest.raises(IntegrityError) as refused, transaction.atomic():
            factories.InvoiceFactory.create(**fields)

        assert database.raised_constraint(refused.value) == constraint

    def test_belongs_to_its_subscriptions_tenant(self) -> None:
        with pytest.raises(IntegrityError) as refused, transaction.atomic():
            factories.InvoiceFactory.create(tenant=factories.TenantFactory.create())

        assert database.raised_constraint(refused.value) == "invoicing_invoice_is_of_its_subscriptions_tenant"

    def test_may_be_deleted_as_a_draft(self) -> None:
        draft = factories.make_draft()

        draft.delete()

        assert not models.LineItem.objects.exists()


@pytest.mark.django_db
class TestCatalog:
    def test_gains_no_price_after_its_version_was_made(self) -> None:
        plan = factories.make_plan(factories.PER_CALL)

        with pytest.raises(IntegrityError) as refused, transaction.atomic():
            factories.PriceFactory.create(plan_version=plan, position=1)

        assert database.raised_constraint(refused.value) == "invoicing_plan_version_gains_no_price"


@pytest.mark.django_db
class TestSubscription:
    @pytest.mark.parametrize("field", ["tenant", "plan_version"])
    def test_has_the_currency_of_its_tenant_and_plan(self, field: str) -> None:
        other = {
            "tenant": lambda: factories.TenantFactory.create(currency="EUR"),
            "plan_version": lambda: factories.PlanVersionFactory.create(currency="EUR"),
        }[field]()
        usual = {"currency": "USD", "tenant": factories.TenantFactory.create(), field: other}

        with pytest.raises(IntegrityError) as refused, transaction.atomic():
            factories.SubscriptionFactory.create(**usual)

        assert str(database.raised_constraint(refused.value)).startswith("invoicing_subscription_is_in_its_")

    def test_is_not_billed_before_it_starts(self) -> None:
        with pytest.raises(IntegrityError) as refused, transaction.atomic():
            factories.SubscriptionFactory.create(starts_at=DECEMBER, next_boundary_at=NOVEMBER)

        assert database.raised_constraint(refused.value) == "invoicing_subscription_is_not_billed_before_it_starts"


@pytest.mark.django_db
class TestTenant:
    @pytest.mark.parametrize("change", ["currency = 'EUR'", "book = 'other'", "id = 'other'"])
    def test_keeps_code_currency_and_book(self, change: str) -> None:
        factories.TenantFactory.create()

        assert _refusal(f"UPDATE invoicing_tenant SET {change}") == "invoicing_tenant_keeps_code_currency_and_book"

    @pytest.mark.parametrize(
        "fields",
        [
            {"id": "not a code"},
            {"id": ""},
            {"billing_channel": "barter"},
            {"net_terms_days": 400},
            {"grace_hours": 9999},
        ],
    )
    def test_is_refused_where_it_makes_no_sense(self, fields: dict[str, object]) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            factories.TenantFactory.create(**fields)


@pytest.mark.django_db
class TestNumberSeries:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE invoicing_number_series SET last_number = 0",
            "UPDATE invoicing_number_series SET year = 2027",
        ],
    )
    def test_only_goes_forward(self, statement: str) -> None:
        factories.NumberSeriesFactory.create()

        assert _refusal(statement) == "invoicing_number_series_goes_forward"
