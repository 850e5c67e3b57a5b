"""Beat's adapters: the same calls that the commands make, safe to repeat."""

from celery import shared_task

from billing_site.kernel import clock
from metering import aggregation, partitions, thresholds


@shared_task(name="metering.aggregate_usage")
def aggregate_usage() -> None:
    """Bring the summaries up to date."""
    aggregation.aggregate_usage(now=clock.now())


@shared_task(name="metering.maintain_partitions")
def maintain_partitions() -> None:
    """Make the months to come."""
    partitions.maintain_partitions(now=clock.now())


@shared_task(name="metering.fire_thresholds")
def fire_thresholds() -> None:
    """Tell of the usage thresholds that were reached."""
    thresholds.fire_thresholds(now=clock.now())
