DROP TRIGGER metering_repeated_event_is_kept_for_a_day ON metering_repeated_event;
DROP TRIGGER metering_repeated_event_is_append_only ON metering_repeated_event;
CREATE TRIGGER metering_repeated_event_is_append_only
    BEFORE UPDATE OR DELETE ON metering_repeated_event
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_repeated_event_is_append_only');
ALTER TABLE metering_repeated_event ENABLE ALWAYS TRIGGER metering_repeated_event_is_append_only;
