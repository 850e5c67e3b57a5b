-- A meter never changes: what was counted by it would mean two things. Neither does the place of a split.
CREATE TRIGGER metering_meter_is_append_only
    BEFORE UPDATE OR DELETE ON metering_meter
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_meter_is_append_only');
CREATE TRIGGER metering_meter_is_never_emptied
    BEFORE TRUNCATE ON metering_meter
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_change('metering_meter_is_append_only');
ALTER TABLE metering_meter ENABLE ALWAYS TRIGGER metering_meter_is_append_only;
ALTER TABLE metering_meter ENABLE ALWAYS TRIGGER metering_meter_is_never_emptied;

CREATE TRIGGER metering_window_split_is_append_only
    BEFORE UPDATE OR DELETE ON metering_window_split
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_window_split_is_append_only');
CREATE TRIGGER metering_window_split_is_never_emptied
    BEFORE TRUNCATE ON metering_window_split
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_change('metering_window_split_is_append_only');
ALTER TABLE metering_window_split ENABLE ALWAYS TRIGGER metering_window_split_is_append_only;
ALTER TABLE metering_window_split ENABLE ALWAYS TRIGGER metering_window_split_is_never_emptied;
ALTER TABLE metering_window_split ADD CONSTRAINT metering_window_split_lies_inside_its_hour CHECK (
    split_at > to_timestamp(event_hour::bigint * 3600) AND split_at < to_timestamp((event_hour::bigint + 1) * 3600)
);

-- A changed window is appended and, once everybody has had a week to read it, deleted.
CREATE TRIGGER metering_changed_window_is_never_changed
    BEFORE UPDATE ON metering_changed_window
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_changed_window_is_never_changed');
ALTER TABLE metering_changed_window ENABLE ALWAYS TRIGGER metering_changed_window_is_never_changed;
ALTER TABLE metering_changed_window SET (
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_insert_scale_factor = 0.01,
    autovacuum_vacuum_cost_delay = 2
);
