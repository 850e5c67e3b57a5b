"""Where events come from other than over HTTP. Each source makes batches of what ``ingestion.ingest`` takes."""
