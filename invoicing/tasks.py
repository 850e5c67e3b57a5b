"""Celery adapters: the sweeps that the commands make too, by the clock."""

from celery import shared_task

from billing_site.kernel import clock
from invoicing import accruals, drafting, finalization, recognition


@shared_task(name="invoicing.generate_invoices", ignore_result=True)
def generate_invoices() -> None:
    """Draft what is due, refresh what is in grace. Safe to repeat."""
    drafting.generate_invoices(now=clock.now())


@shared_task(name="invoicing.finalize_invoices", ignore_result=True)
def finalize_invoices() -> None:
    """Finalize what is out of grace. Safe to repeat."""
    finalization.finalize_invoices(now=clock.now())


@shared_task(name="invoicing.recognize_revenue", ignore_result=True)
def recognize_revenue() -> None:
    """Earn the fees billed in advance, for every day that is over. Safe to repeat."""
    recognition.recognize_revenue(now=clock.now())


@shared_task(name="invoicing.accrue_usage", ignore_result=True)
def accrue_usage() -> None:
    """Accrue the usage that was not billed when the latest month ended. Safe to repeat."""
    now = clock.now()
    accruals.accrue_usage(day=accruals.last_day_of_month_before(now), now=now)
