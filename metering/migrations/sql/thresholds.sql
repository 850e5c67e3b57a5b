-- A threshold is never edited, only deactivated, once; what fired has fired.
CREATE TRIGGER metering_usage_threshold_is_never_edited
    BEFORE UPDATE ON metering_usage_threshold
    FOR EACH ROW
    WHEN (
        OLD.deactivated_at IS NOT NULL
        OR (OLD.id, OLD.tenant_id, OLD.meter, OLD.event_type, OLD.quantity, OLD.period, OLD.action, OLD.created_at)
            IS DISTINCT FROM
            (NEW.id, NEW.tenant_id, NEW.meter, NEW.event_type, NEW.quantity, NEW.period, NEW.action, NEW.created_at)
    )
    EXECUTE FUNCTION metering_refuse_change('metering_usage_threshold_is_never_edited');
ALTER TABLE metering_usage_threshold ENABLE ALWAYS TRIGGER metering_usage_threshold_is_never_edited;

CREATE TRIGGER metering_threshold_firing_is_append_only
    BEFORE UPDATE OR DELETE ON metering_threshold_firing
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_threshold_firing_is_append_only');
ALTER TABLE metering_threshold_firing ENABLE ALWAYS TRIGGER metering_threshold_firing_is_append_only;
