import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

import billing_site.kernel.fields
from billing_site.kernel import database


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Invoice",
            fields=[
                (
                    "id",
                    billing_site.kernel.fields.PrefixedIdField(
                        editable=False, max_length=40, prefix="inv", primary_key=True, serialize=False
                    ),
                ),
                ("book", billing_site.kernel.fields.CodeField(max_length=64)),
                ("number", models.CharField(blank=True, max_length=40, null=True)),
                ("currency", billing_site.kernel.fields.CurrencyField(max_length=3)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("open", "Open"),
                            ("paid", "Paid"),
                            ("void", "Void"),
                            ("uncollectible", "Uncollectible"),
                        ],
                        default="draft",
                        max_length=13,
                    ),
                ),
                ("boundary_at", models.DateTimeField(blank=True, null=True)),
                ("revision", models.PositiveSmallIntegerField(default=0)),
                ("period_start", models.DateTimeField()),
                ("period_end", models.DateTimeField()),
                ("finalizes_at", models.DateTimeField(blank=True, null=True)),
                ("finalized_at", models.DateTimeField(blank=True, null=True)),
                ("due_at", models.DateTimeField(blank=True, null=True)),
                ("paid_at", models.DateTimeField(blank=True, null=True)),
                ("subtotal_cents", models.BigIntegerField(default=0)),
                ("discount_cents", models.BigIntegerField(default=0)),
                ("tax_cents", models.BigIntegerField(default=0)),
                ("total_cents", models.BigIntegerField(default=0)),
                ("credits_applied_cents", models.BigIntegerField(default=0)),
                ("amount_credited_cents", models.BigIntegerField(default=0)),
                ("amount_paid_cents", models.BigIntegerField(default=0)),
                ("amount_due_cents", models.BigIntegerField(default=0)),
                ("discounts", models.JSONField(blank=True, default=list)),
                ("taxes", models.JSONField(blank=True, default=list)),
                ("metadata", models.JSONField(blank=True, default=dict)),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "invoicing_invoice",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="NumberSeries",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("book", billing_site.kernel.fields.CodeField(max_length=64)),
                ("year", models.PositiveSmallIntegerField()),
                ("kind", models.CharField(max_length=16)),
                ("last_number", models.PositiveIntegerField()),
            ],
            options={
                "verbose_name_plural": "number series",
                "db_table": "invoicing_number_series",
                "ordering": ["book", "-year", "kind"],
                "constraints": [
                    models.UniqueConstraint(fields=("book", "year", "kind"), name="invoicing_number_series_is_one")
                ],
            },
        ),
        migrations.CreateModel(
            name="Plan",
            fields=[
                ("code", billing_site.kernel.fields.CodeField(max_length=64, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "invoicing_plan",
                "ordering": ["-created_at", "-code"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("code__regex", "^[A-Za-z0-9._:-]{1,64}$")),
                        name="invoicing_plan_code_is_well_formed",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="PlanVersion",
            fields=[
                (
                    "id",
                    billing_site.kernel.fields.PrefixedIdField(
                        editable=False, max_length=40, prefix="pv", primary_key=True, serialize=False
                    ),
                ),
                ("version", models.PositiveIntegerField()),
                ("name", models.CharField(max_length=200)),
                ("currency", billing_site.kernel.fields.CurrencyField(max_length=3)),
                ("interval", models.CharField(choices=[("month", "Month"), ("year", "Year")], max_length=5)),
                (
                    "billing_anchor",
                    models.CharField(
                        choices=[("start", "Start of the subscription"), ("calendar", "Calendar")], max_length=8
                    ),
                ),
                ("grace_hours", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("base_fee_cents", models.BigIntegerField(default=0)),
                (
                    "base_fee_timing",
                    models.CharField(
                        choices=[("in_advance", "In advance"), ("in_arrears", "In arrears")],
                        default="in_advance",
                        max_length=10,
                    ),
                ),
                ("trial_days", models.PositiveSmallIntegerField(default=0)),
                ("minimum_commitment_cents", models.BigIntegerField(default=0)),
                ("price_count", models.PositiveSmallIntegerField()),
                ("created_at", models.DateTimeField()),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="versions", to="invoicing.plan"
                    ),
                ),
            ],
            options={
                "db_table": "invoicing_plan_version",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Price",
            fields=[
                (
                    "id",
                    billing_site.kernel.fields.PrefixedIdField(
                        editable=False, max_length=40, prefix="price", primary_key=True, serialize=False
                    ),
                ),
                ("position", models.PositiveSmallIntegerField()),
                ("meter", models.CharField(max_length=100)),
                ("model", models.CharField(max_length=32)),
                ("definition", models.JSONField()),
                (
                    "plan_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="prices", to="invoicing.planversion"
                    ),
                ),
            ],
            options={
                "db_table": "invoicing_price",
                "ordering": ["plan_version_id", "position"],
            },
        ),
        migrations.CreateModel(
            name="LineItem",
            fields=[
                (
                    "id",
                    billing_site.kernel.fields.PrefixedIdField(
                        editable=False, max_length=40, prefix="li", primary_key=True, serialize=False
                    ),
                ),
                ("position", models.PositiveSmallIntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("usage", "Usage"),
                            ("base_fee", "Base fee"),
                            ("proration", "Proration"),
                            ("minimum_commitment", "Minimum commitment"),
                            ("adjustment", "Adjustment"),
                            ("carried_to_credit", "Carried to credit"),
                            ("one_off", "One-off"),
                        ],
                        max_length=18,
                    ),
                ),
                ("meter", models.CharField(blank=True, default="", max_length=100)),
                ("description", models.CharField(max_length=500)),
                ("quantity", models.DecimalField(decimal_places=12, max_digits=50)),
                ("unit_amount_cents", models.DecimalField(blank=True, decimal_places=12, max_digits=30, null=True)),
                ("unrounded_amount_cents", models.TextField()),
                ("amount_cents", models.BigIntegerField()),
                ("tiers", models.JSONField(blank=True, default=list)),
                ("calculation", models.JSONField(blank=True, null=True)),
                ("period_start", models.DateTimeField()),
                ("period_end", models.DateTimeField()),
                (
                    "invoice",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="lines", to="invoicing.invoice"
                    ),
                ),
                (
                    "price",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="invoicing.price",
                    ),
                ),
            ],
            options={
                "db_table": "invoicing_line_item",
                "ordering": ["invoice_id", "position"],
            },
        ),
        migrations.CreateModel(
            name="Subscription",
            fields=[
                (
                    "id",
                    billing_site.kernel.fields.PrefixedIdField(
                        editable=False, max_length=40, prefix="sub", primary_key=True, serialize=False
                    ),
                ),
                ("currency", billing_site.kernel.fields.CurrencyField(max_length=3)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("trialing", "Trialing"),
                            ("active", "Active"),
                            ("past_due", "Past due"),
                            ("suspended", "Suspended"),
                            ("paused", "Paused"),
                            ("cancelling", "Cancelling"),
                            ("cancelled", "Cancelled"),
                        ],
                        max_length=10,
                    ),
                ),
                ("starts_at", models.DateTimeField()),
                ("time_zone", models.CharField(max_length=64)),
                ("next_boundary_at", models.DateTimeField(blank=True, null=True)),
                ("metadata", models.JSONField(blank=True, default=dict)),
                ("created_at", models.DateTimeField()),
                (
                    "plan_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="subscriptions",
                        to="invoicing.planversion",
                    ),
                ),
            ],
            options={
                "db_table": "invoicing_subscription",
                "ordering": ["-id"],
            },
        ),
        migrations.AddField(
            model_name="invoice",
            name="subscription",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="invoices",
                to="invoicing.subscription",
            ),
        ),
        migrations.CreateModel(
            name="Tenant",
            fields=[
                ("id", billing_site.kernel.fields.CodeField(max_length=64, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=200)),
                ("email", models.CharField(blank=True, default="", max_length=254)),
                ("currency", billing_site.kernel.fields.CurrencyField(max_length=3)),
                (
                    "billing_channel",
                    models.CharField(
                        choices=[
                            ("stripe", "Stripe"),
                            ("aws_marketplace", "AWS Marketplace"),
                            ("gcp_marketplace", "Google Cloud Marketplace"),
                            ("azure_marketplace", "Azure Marketplace"),
                            ("manual", "Manual (bank transfer)"),
                        ],
                        default="manual",
                        max_length=20,
                    ),
                ),
                ("country", models.CharField(blank=True, default="", max_length=2)),
                ("address", models.JSONField(blank=True, default=dict)),
                ("tax_id", models.CharField(blank=True, default="", max_length=64)),
                ("net_terms_days", models.PositiveSmallIntegerField(default=0)),
                ("time_zone", models.CharField(default="UTC", max_length=64)),
                ("grace_hours", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("book", billing_site.kernel.fields.CodeField(default="main", max_length=64)),
                ("metadata", models.JSONField(blank=True, default=dict)),
                ("created_at", models.DateTimeField()),
                ("updated_at", models.DateTimeField()),
            ],
            options={
                "db_table": "invoicing_tenant",
                "ordering": ["-created_at", "-id"],
                "indexes": [models.Index(fields=["-created_at", "-id"], name="invoicing_tenant_newest_first")],
                "constraints": [
                    models.UniqueConstraint(fields=("id", "currency"), name="invoicing_tenant_has_one_currency"),
                    models.CheckConstraint(
                        condition=models.Q(("id__regex", "^[A-Za-z0-9._:-]{1,64}$")),
                        name="invoicing_tenant_code_is_well_formed",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "billing_channel__in",
                                ["stripe", "aws_marketplace", "gcp_marketplace", "azure_marketplace", "manual"],
                            )
                        ),
                        name="invoicing_tenant_channel_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("net_terms_days__lte", 365),
                            models.Q(("grace_hours", None), ("grace_hours__lte", 2160), _connector="OR"),
                        ),
                        name="invoicing_tenant_terms_are_bounded",
                    ),
                ],
            },
        ),
        migrations.AddField(
            model_name="subscription",
            name="tenant",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="subscriptions", to="invoicing.tenant"
            ),
        ),
        migrations.AddField(
            model_name="invoice",
            name="tenant",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="invoices", to="invoicing.tenant"
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.UniqueConstraint(
                fields=("plan", "version"), name="invoicing_plan_version_is_numbered_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.UniqueConstraint(
                fields=("id", "currency"), name="invoicing_plan_version_has_one_currency"
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("version__gte", 1)), name="invoicing_plan_version_counts_from_one"
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("billing_anchor__in", ["start", "calendar"]), ("interval__in", ["month", "year"])),
                name="invoicing_plan_interval_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("base_fee_timing__in", ["in_advance", "in_arrears"])),
                name="invoicing_plan_fee_timing_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("base_fee_cents__gte", 0), ("minimum_commitment_cents__gte", 0)),
                name="invoicing_plan_amounts_are_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("grace_hours", None), ("grace_hours__lte", 2160), _connector="OR"),
                name="invoicing_plan_grace_is_bounded",
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.UniqueConstraint(
                fields=("plan_version", "position"), name="invoicing_price_has_one_place"
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(("meter", ""), _negated=True), name="invoicing_price_names_a_meter"
            ),
        ),
        migrations.AddConstraint(
            model_name="lineitem",
            constraint=models.UniqueConstraint(
                fields=("invoice", "position"), name="invoicing_line_item_has_one_place"
            ),
        ),
        migrations.AddConstraint(
            model_name="lineitem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            "usage",
                            "base_fee",
                            "proration",
                            "minimum_commitment",
                            "adjustment",
                            "carried_to_credit",
                            "one_off",
                        ],
                    )
                ),
                name="invoicing_line_item_kind_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="lineitem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "usage"), _negated=True),
                    models.Q(("price__isnull", False), models.Q(("meter", ""), _negated=True)),
                    _connector="OR",
                ),
                name="invoicing_line_item_of_usage_has_a_price",
            ),
        ),
        migrations.AddConstraint(
            model_name="lineitem",
            constraint=models.CheckConstraint(
                condition=models.Q(("period_start__lte", models.F("period_end"))),
                name="invoicing_line_item_period_is_not_reversed",
            ),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(
                condition=models.Q(
                    ("next_boundary_at__isnull", False),
                    ("status__in", ("active", "past_due", "suspended", "cancelling")),
                ),
                fields=["next_boundary_at", "id"],
                name="invoicing_subscription_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.UniqueConstraint(fields=("id", "tenant"), name="invoicing_subscription_has_one_tenant"),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["trialing", "active", "past_due", "suspended", "paused", "cancelling", "cancelled"])
                ),
                name="invoicing_subscription_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("next_boundary_at", None), ("next_boundary_at__gte", models.F("starts_at")), _connector="OR"
                ),
                name="invoicing_subscription_is_not_billed_before_it_starts",
            ),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(fields=["tenant", "-id"], name="invoicing_invoice_of_tenant"),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(
                condition=models.Q(("status", "draft")),
                fields=["finalizes_at", "id"],
                name="invoicing_invoice_to_finalize",
            ),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(
                condition=models.Q(("status", "open")), fields=["due_at", "id"], name="invoicing_invoice_by_due_date"
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.UniqueConstraint(
                fields=("subscription", "boundary_at", "revision"), name="invoicing_invoice_once_per_boundary"
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.UniqueConstraint(
                fields=("book", "number"), name="invoicing_invoice_number_is_given_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["draft", "open", "paid", "void", "uncollectible"])),
                name="invoicing_invoice_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "total_cents",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                models.F("subtotal_cents"), "-", models.F("discount_cents")
                            ),
                            "+",
                            models.F("tax_cents"),
                        ),
                    )
                ),
                name="invoicing_invoice_total_adds_up",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "amount_due_cents",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.expressions.CombinedExpression(
                                    models.F("total_cents"), "-", models.F("credits_applied_cents")
                                ),
                                "-",
                                models.F("amount_credited_cents"),
                            ),
                            "-",
                            models.F("amount_paid_cents"),
                        ),
                    )
                ),
                name="invoicing_invoice_amount_due_adds_up",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount_credited_cents__gte", 0),
                    ("amount_due_cents__gte", 0),
                    ("amount_paid_cents__gte", 0),
                    ("credits_applied_cents__gte", 0),
                    ("discount_cents__gte", 0),
                    ("total_cents__gte", 0),
                ),
                name="invoicing_invoice_amounts_are_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("due_at", None), ("finalized_at", None), ("number", None), ("status", "draft")),
                    models.Q(
                        models.Q(("status", "draft"), _negated=True),
                        ("due_at__isnull", False),
                        ("finalized_at__isnull", False),
                        ("number__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="invoicing_invoice_is_numbered_unless_draft",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("amount_due_cents", 0), ("paid_at__isnull", False), ("status", "paid")),
                    models.Q(models.Q(("status", "paid"), _negated=True), ("paid_at", None)),
                    _connector="OR",
                ),
                name="invoicing_invoice_is_paid_when_nothing_is_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status__in", ["open", "uncollectible"]), _negated=True),
                    ("amount_due_cents__gt", 0),
                    _connector="OR",
                ),
                name="invoicing_open_invoice_has_something_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "draft"), _negated=True),
                    models.Q(("amount_credited_cents", 0), ("amount_paid_cents", 0), ("credits_applied_cents", 0)),
                    _connector="OR",
                ),
                name="invoicing_draft_has_no_payments",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("period_start__lte", models.F("period_end"))),
                name="invoicing_invoice_period_is_not_reversed",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("boundary_at", None), ("subscription", None)),
                    models.Q(("boundary_at__isnull", False), ("subscription__isnull", False)),
                    _connector="OR",
                ),
                name="invoicing_invoice_of_a_subscription_has_a_boundary",
            ),
        ),
        database.run_sql_file(__file__, "catalog.sql", "catalog_reverse.sql"),
        database.run_sql_file(__file__, "invoices.sql", "invoices_reverse.sql"),
    ]
