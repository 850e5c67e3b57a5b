"""Beat's adapters: the same calls that the commands make, safe to repeat."""

import logging

from celery import shared_task

from billing_site.kernel import clock
from metering import aggregation, anomalies, archives, partitions, retention, thresholds
from metering.lake import store

logger = logging.getLogger(__name__)


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


@shared_task(name="metering.detect_anomalies")
def detect_anomalies() -> None:
    """Find the days whose usage stands out."""
    anomalies.detect_anomalies(now=clock.now())


@shared_task(name="metering.detect_spikes")
def detect_spikes() -> None:
    """Find the hours whose usage stands out, while they are new."""
    anomalies.detect_spikes(now=clock.now())


# Longer than other tasks, and shorter than the broker waits for an answer; what is left goes on in the next run.
@shared_task(name="metering.archive_events", soft_time_limit=3_000, time_limit=3_300)
def archive_events() -> None:
    """Archive and drop the months that are past the retention, and forget keys that guard nothing any more."""
    if not store.is_configured():
        return
    report = archives.archive_events(now=clock.now())
    if report.needs_person:
        logger.error("months of events could not be archived: %s", report.failed)
    retention.expire_keys(now=clock.now())
