"""The tables of invoicing, by noun."""

from invoicing.models.catalog import Plan, PlanVersion, Price
from invoicing.models.invoices import Invoice, LineItem, NumberSeries
from invoicing.models.late_usage import BilledUsage, LateUsage, UsageChange, UsageCursor
from invoicing.models.recognition import RecognitionProgress, RecognitionSchedule
from invoicing.models.subscriptions import Subscription
from invoicing.models.tenants import Tenant

__all__ = [
    "BilledUsage",
    "Invoice",
    "LateUsage",
    "LineItem",
    "NumberSeries",
    "Plan",
    "PlanVersion",
    "Price",
    "RecognitionProgress",
    "RecognitionSchedule",
    "Subscription",
    "Tenant",
    "UsageChange",
    "UsageCursor",
]
