-- Room in each page, so that a recomputed row stays where it is and its index entry too.
ALTER TABLE metering_request_summary SET (fillfactor = 80);

-- Requests that came before there was a roll-up: their windows are touched once, so that they are in it.
INSERT INTO metering_touched_window (batch_id, shard, started_at, series_ids, hours)
SELECT 0, 0, statement_timestamp(), array_agg(series.id), array_agg((extract(epoch FROM summary.period_start) / 3600)::int)
FROM metering_series AS series
JOIN metering_usage_summary AS summary
    ON summary.tenant_id = series.tenant_id AND summary.meter = series.event_type AND summary.granularity = 'hour'
WHERE series.event_type = 'api.request'
GROUP BY series.id, date_trunc('month', summary.period_start, 'UTC');
