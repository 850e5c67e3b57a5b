"""
Metering: from events to usage summaries.

Owns the raw metering events (immutable, the source of truth), the keys that make each count once, the series they
belong to, the windows they touch, the usage summaries recomputed from them, and the dead letters of what could not be
taken.

Doors: ``ingestion.ingest`` (all ways in), ``aggregation.aggregate_usage`` (windows to summaries), ``usage`` (all ways
to read), ``partitions.maintain_partitions`` (upkeep), ``replays`` and ``dead_letters`` (what becomes of refused
events), ``investigation.investigate`` (all stages side by side). Metering knows tenants only as
text, and no plan, price or invoice.
"""
