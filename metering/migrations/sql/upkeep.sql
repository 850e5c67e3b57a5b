-- What was sent again stays as it came for a day at least; then it may be added up and, in time, forgotten.
DROP TRIGGER metering_repeated_event_is_append_only ON metering_repeated_event;
CREATE TRIGGER metering_repeated_event_is_append_only
    BEFORE UPDATE ON metering_repeated_event
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_repeated_event_is_append_only');
CREATE TRIGGER metering_repeated_event_is_kept_for_a_day
    BEFORE DELETE ON metering_repeated_event
    FOR EACH ROW WHEN (OLD.created_at > statement_timestamp() - interval '1 day')
    EXECUTE FUNCTION metering_refuse_change('metering_repeated_event_is_append_only');
ALTER TABLE metering_repeated_event ENABLE ALWAYS TRIGGER metering_repeated_event_is_append_only;
ALTER TABLE metering_repeated_event ENABLE ALWAYS TRIGGER metering_repeated_event_is_kept_for_a_day;
