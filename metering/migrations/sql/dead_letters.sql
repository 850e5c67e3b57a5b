-- What was refused stays as it came; only what becomes of it may change.
CREATE FUNCTION metering_dead_letter_keep_what_came() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (NEW.id, NEW.tenant_id, NEW.payload_digest, NEW.payload, NEW.first_seen_at, NEW.event_type, NEW.event_hour)
        IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.payload_digest, OLD.payload, OLD.first_seen_at, OLD.event_type, OLD.event_hour)
        OR NEW.count < OLD.count
    THEN
        RAISE EXCEPTION 'the dead letter % stays as it came', OLD.id
            USING ERRCODE = '23514', CONSTRAINT = 'metering_dead_letter_stays_as_it_came',
                SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION metering_dead_letter_keep_what_came() FROM PUBLIC;

CREATE TRIGGER metering_dead_letter_stays_as_it_came
    BEFORE UPDATE ON metering_dead_letter
    FOR EACH ROW EXECUTE FUNCTION metering_dead_letter_keep_what_came();
ALTER TABLE metering_dead_letter ENABLE ALWAYS TRIGGER metering_dead_letter_stays_as_it_came;
CREATE TRIGGER metering_dead_letter_is_never_deleted
    BEFORE DELETE ON metering_dead_letter
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_dead_letter_is_never_deleted');
ALTER TABLE metering_dead_letter ENABLE ALWAYS TRIGGER metering_dead_letter_is_never_deleted;
CREATE TRIGGER metering_dead_letter_is_never_emptied
    BEFORE TRUNCATE ON metering_dead_letter
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_change('metering_dead_letter_is_never_deleted');
ALTER TABLE metering_dead_letter ENABLE ALWAYS TRIGGER metering_dead_letter_is_never_emptied;

-- The trail.
CREATE TRIGGER metering_dead_letter_action_is_append_only
    BEFORE UPDATE OR DELETE ON metering_dead_letter_action
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_dead_letter_action_is_append_only');
ALTER TABLE metering_dead_letter_action ENABLE ALWAYS TRIGGER metering_dead_letter_action_is_append_only;
CREATE TRIGGER metering_dead_letter_action_is_never_emptied
    BEFORE TRUNCATE ON metering_dead_letter_action
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_change('metering_dead_letter_action_is_append_only');
ALTER TABLE metering_dead_letter_action ENABLE ALWAYS TRIGGER metering_dead_letter_action_is_never_emptied;

-- The same payload in a loop updates one row: room beside it, so that its index entries stay where they are.
ALTER TABLE metering_dead_letter SET (fillfactor = 80);
