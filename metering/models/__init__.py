"""
Metering's tables.

The event store (``Event``) is a partitioned table that a migration makes by SQL; the others are made by Django. All
times are UTC. Nothing here has a foreign key: an event's series is looked up in the transaction that stores it, and
neither can be deleted.
"""

from metering.models.anomalies import AnomalyKind, AnomalyState, UsageAnomaly
from metering.models.archives import ArchivedFile, ArchivedMonth
from metering.models.corrections import Correction, CorrectionFault, RepeatedEvent
from metering.models.dead_letters import DeadLetter, DeadLetterAction, DeadLetterState, DeadLetterStep
from metering.models.events import EVENT_TYPE_PATTERN, Event, EventKey, Series, TouchedStage, TouchedWindow
from metering.models.meters import Aggregation, Meter, MeterBackfill
from metering.models.requests import RequestSummary
from metering.models.summaries import (
    ChangedWindow,
    Granularity,
    QuarantinedWindow,
    QuarantineState,
    UsageSummary,
    WindowSplit,
)
from metering.models.thresholds import MAX_THRESHOLD_QUANTITY, ThresholdAction, ThresholdFiring, UsageThreshold

__all__ = [
    "EVENT_TYPE_PATTERN",
    "MAX_THRESHOLD_QUANTITY",
    "Aggregation",
    "AnomalyKind",
    "AnomalyState",
    "ArchivedFile",
    "ArchivedMonth",
    "ChangedWindow",
    "Correction",
    "CorrectionFault",
    "DeadLetter",
    "DeadLetterAction",
    "DeadLetterState",
    "DeadLetterStep",
    "Event",
    "EventKey",
    "Granularity",
    "Meter",
    "MeterBackfill",
    "QuarantineState",
    "QuarantinedWindow",
    "RepeatedEvent",
    "RequestSummary",
    "Series",
    "ThresholdAction",
    "ThresholdFiring",
    "TouchedStage",
    "TouchedWindow",
    "UsageAnomaly",
    "UsageSummary",
    "UsageThreshold",
    "WindowSplit",
]
