-- Refuses whatever the trigger was made for; its argument is the rule's name, which the error carries as constraint.
CREATE FUNCTION metering_refuse_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: what was metered stays as it came', TG_OP, TG_TABLE_NAME
        USING ERRCODE = '23514', CONSTRAINT = TG_ARGV[0], SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END
$$;
REVOKE ALL ON FUNCTION metering_refuse_change() FROM PUBLIC;

-- ENABLE ALWAYS: also for a session that replicates (session_replication_role), which skips ordinary triggers.

CREATE TRIGGER metering_series_is_append_only
    BEFORE UPDATE OR DELETE ON metering_series
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_series_is_append_only');
CREATE TRIGGER metering_series_is_never_emptied
    BEFORE TRUNCATE ON metering_series
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_change('metering_series_is_append_only');
ALTER TABLE metering_series ENABLE ALWAYS TRIGGER metering_series_is_append_only;
ALTER TABLE metering_series ENABLE ALWAYS TRIGGER metering_series_is_never_emptied;

CREATE TRIGGER metering_event_key_is_append_only
    BEFORE UPDATE OR DELETE ON metering_event_key
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_event_key_is_append_only');
CREATE TRIGGER metering_event_key_is_never_emptied
    BEFORE TRUNCATE ON metering_event_key
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_change('metering_event_key_is_append_only');
ALTER TABLE metering_event_key ENABLE ALWAYS TRIGGER metering_event_key_is_append_only;
ALTER TABLE metering_event_key ENABLE ALWAYS TRIGGER metering_event_key_is_never_emptied;

-- A touched window is appended and claimed by deleting it; what it names never changes.
CREATE TRIGGER metering_touched_window_is_never_changed
    BEFORE UPDATE ON metering_touched_window
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_touched_window_is_never_changed');
ALTER TABLE metering_touched_window ENABLE ALWAYS TRIGGER metering_touched_window_is_never_changed;
