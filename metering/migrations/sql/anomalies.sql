-- A finding stays as it was found; that it was acknowledged is written once.
CREATE TRIGGER metering_usage_anomaly_is_never_edited
    BEFORE UPDATE ON metering_usage_anomaly
    FOR EACH ROW
    WHEN (
        OLD.state <> 'open'
        OR (OLD.id, OLD.tenant_id, OLD.event_type, OLD.day, OLD.kind, OLD.window_start, OLD.window_end,
            OLD.observed_quantity, OLD.expected_quantity, OLD.deviation, OLD.z_score, OLD.history_days, OLD.detected_at)
            IS DISTINCT FROM
            (NEW.id, NEW.tenant_id, NEW.event_type, NEW.day, NEW.kind, NEW.window_start, NEW.window_end,
            NEW.observed_quantity, NEW.expected_quantity, NEW.deviation, NEW.z_score, NEW.history_days, NEW.detected_at)
    )
    EXECUTE FUNCTION metering_refuse_change('metering_usage_anomaly_is_never_edited');
ALTER TABLE metering_usage_anomaly ENABLE ALWAYS TRIGGER metering_usage_anomaly_is_never_edited;
