DROP FUNCTION metering_open_batch();
CREATE FUNCTION metering_open_batch(OUT batch_id bigint, OUT started_at timestamptz, OUT database_id bigint)
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        nextval('public.metering_batch_id_seq'),
        statement_timestamp(),
        (SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = current_database())
$$;
REVOKE ALL ON FUNCTION metering_open_batch() FROM PUBLIC;
DROP TRIGGER metering_repeated_event_is_never_emptied ON metering_repeated_event;
DROP TRIGGER metering_repeated_event_is_append_only ON metering_repeated_event;
DROP TRIGGER metering_correction_is_never_emptied ON metering_correction;
DROP TRIGGER metering_correction_is_append_only ON metering_correction;
DROP FUNCTION metering_guard_correction();
