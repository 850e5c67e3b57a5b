-- A correction stays as it came; only what it corrects may be filled in, once, when the original is known.
CREATE FUNCTION metering_guard_correction() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    expected public.metering_correction := OLD;
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.original_event_hour IS NULL AND OLD.fault = '' THEN
        expected.original_series_id := NEW.original_series_id;
        expected.original_event_hour := NEW.original_event_hour;
        expected.fault := NEW.fault;
        IF NEW = expected THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '% on metering_correction is refused: a correction stays as it came', TG_OP
        USING ERRCODE = '23514', CONSTRAINT = 'metering_correction_is_append_only',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END
$$;
REVOKE ALL ON FUNCTION metering_guard_correction() FROM PUBLIC;

CREATE TRIGGER metering_correction_is_append_only
    BEFORE UPDATE OR DELETE ON metering_correction
    FOR EACH ROW EXECUTE FUNCTION metering_guard_correction();
CREATE TRIGGER metering_correction_is_never_emptied
    BEFORE TRUNCATE ON metering_correction
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_change('metering_correction_is_append_only');
ALTER TABLE metering_correction ENABLE ALWAYS TRIGGER metering_correction_is_append_only;
ALTER TABLE metering_correction ENABLE ALWAYS TRIGGER metering_correction_is_never_emptied;

CREATE TRIGGER metering_repeated_event_is_append_only
    BEFORE UPDATE OR DELETE ON metering_repeated_event
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_repeated_event_is_append_only');
CREATE TRIGGER metering_repeated_event_is_never_emptied
    BEFORE TRUNCATE ON metering_repeated_event
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_change('metering_repeated_event_is_append_only');
ALTER TABLE metering_repeated_event ENABLE ALWAYS TRIGGER metering_repeated_event_is_append_only;
ALTER TABLE metering_repeated_event ENABLE ALWAYS TRIGGER metering_repeated_event_is_never_emptied;

-- Opens a batch, as before, and tells two things more, in one statement and so at one moment: whether a correction waits
-- for its original, which may be in this batch, and the oldest transaction that this statement could not see to its end
-- (a correction of such a one is not noticed here, so aggregation looks for it).
DROP FUNCTION metering_open_batch();
CREATE FUNCTION metering_open_batch(
    OUT batch_id bigint, OUT started_at timestamptz, OUT database_id bigint, OUT oldest_xid bigint, OUT has_pending boolean
)
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        nextval('public.metering_batch_id_seq'),
        statement_timestamp(),
        (SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = current_database()),
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
        EXISTS (SELECT FROM public.metering_correction WHERE original_event_hour IS NULL AND fault = '')
$$;
REVOKE ALL ON FUNCTION metering_open_batch() FROM PUBLIC;
