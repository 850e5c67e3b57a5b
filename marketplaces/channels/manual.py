"""The channel of tenants who pay by bank transfer: nobody outside has to know of them."""

from collections.abc import Sequence

from marketplaces.channels import base

CODE = "manual"


class ManualChannel:
    """A channel without another side."""

    def onboard_customer(self, registration: base.Registration) -> base.ExternalCustomer:
        """The tenant is its own customer."""
        return base.ExternalCustomer(channel=CODE, external_id=registration.tenant_id)

    def report_usage(self, records: Sequence[base.UsageRecord]) -> Sequence[base.UsageReceipt]:
        """Nobody to report to: usage is on our own invoices."""
        return [base.UsageReceipt(record_id=record.record_id, status="not_applicable") for record in records]

    def process_plan_change(self, change: base.PlanChange) -> base.PlanChangeOutcome:
        """Nobody to ask: plans are ours."""
        return base.PlanChangeOutcome(status="not_applicable")

    def get_external_state(self, customer: base.ExternalCustomer) -> base.ExternalState:
        """Always as we have it."""
        return base.ExternalState(customer=customer, status="active")
