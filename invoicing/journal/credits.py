"""Credits: prepaid, promotional and customer credit applied to an invoice; prepaid credit that expired."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from invoicing.journal import entries
from ledger import posting

CreditKind = Literal["prepaid", "promotional", "customer"]

# Promotional credit was never paid for: it is a discount given when it is used.
ACCOUNTS: Final[Mapping[CreditKind, str]] = {
    "prepaid": "prepaid_credit",
    "promotional": "discounts",
    "customer": "customer_credit",
}


@dataclass(frozen=True, kw_only=True)
class CreditApplication:
    """
    Credit of one kind applied to one invoice.

    Units: ``amount_cents`` is positive, in the minor unit of ``currency``.
    """

    id: str
    invoice_id: str
    tenant_id: str
    currency: str
    kind: CreditKind
    amount_cents: int

    @property
    def account_type(self) -> str:
        """The account that it is taken from."""
        return ACCOUNTS[self.kind]


def credit_applied(*, application: CreditApplication, applied_at: datetime) -> posting.NewTransaction:
    """
    Credit settles a part of an invoice. Prepaid and customer credit stop at zero, which the ledger itself holds.

    Idempotency: ``credit_application:<id>:applied``.
    """
    entries.require_positive(amount_cents=application.amount_cents)
    return posting.NewTransaction(
        idempotency_key=f"credit_application:{application.id}:applied",
        kind=f"{application.kind}_credit_applied",
        tenant_id=application.tenant_id,
        currency=application.currency,
        occurred_at=applied_at,
        entries=entries.of(
            {application.account_type: application.amount_cents, "accounts_receivable": -application.amount_cents},
            tenant_id=application.tenant_id,
        ),
        reference_type="invoice",
        reference_id=application.invoice_id,
        description=f"{application.kind.capitalize()} credit applied to invoice {application.invoice_id}",
    )


def prepaid_expired(
    *, grant_id: str, tenant_id: str, currency: str, amount_cents: int, expired_at: datetime
) -> posting.NewTransaction:
    """
    What is left of a prepaid grant when it expires is kept: breakage.

    Idempotency: ``credit_grant:<id>:expired``.
    """
    entries.require_positive(amount_cents=amount_cents)
    return posting.NewTransaction(
        idempotency_key=f"credit_grant:{grant_id}:expired",
        kind="prepaid_expired",
        tenant_id=tenant_id,
        currency=currency,
        occurred_at=expired_at,
        entries=entries.of({"prepaid_credit": amount_cents, "breakage": -amount_cents}, tenant_id=tenant_id),
        reference_type="credit_grant",
        reference_id=grant_id,
        description=f"Prepaid credit {grant_id} expired",
    )
