DROP FUNCTION metering_expire_keys(uuid[]);
DROP TRIGGER metering_event_key_outlives_its_event ON metering_event_key;
DROP TRIGGER metering_event_key_is_append_only ON metering_event_key;
CREATE TRIGGER metering_event_key_is_append_only
    BEFORE UPDATE OR DELETE ON metering_event_key
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_event_key_is_append_only');
ALTER TABLE metering_event_key ENABLE ALWAYS TRIGGER metering_event_key_is_append_only;
DROP FUNCTION metering_refuse_early_forgetting();
DROP FUNCTION metering_finish_restore(date);
DROP FUNCTION metering_begin_restore(date);
DROP FUNCTION metering_drop_month(date);
DROP FUNCTION metering_month_is_pending(integer, integer);
DROP FUNCTION metering_verify_month(date, text, text);
DROP FUNCTION metering_unseal_month(date);
DROP FUNCTION metering_seal_month(date);
DROP FUNCTION metering_drain_month(date);
DROP FUNCTION metering_event_figures(regclass);
DROP FUNCTION metering_attach_month(regclass, integer, integer);
ALTER TABLE metering_event_default RESET (
    autovacuum_vacuum_scale_factor, autovacuum_analyze_scale_factor,
    autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_cost_delay
);
DROP FUNCTION metering_create_month_table(name);
DROP FUNCTION metering_month_bounds(date);
