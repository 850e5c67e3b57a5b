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
CREATE OR REPLACE FUNCTION metering_make_partition(month date) RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first_day CONSTANT date := make_date(extract(year FROM month)::int, extract(month FROM month)::int, 1);
    first_hour CONSTANT integer := extract(epoch FROM first_day)::bigint / 3600;
    end_hour CONSTANT integer := extract(epoch FROM first_day + interval '1 month')::bigint / 3600;
    name CONSTANT name := 'metering_event_' || to_char(first_day, 'YYYY_MM');
BEGIN
    IF month IS NULL OR month < '2000-01-01' OR month >= '2200-01-01' THEN
        RAISE EXCEPTION 'no events are kept for %', month
            USING ERRCODE = '23514', CONSTRAINT = 'metering_partition_month_is_in_bounds';
    END IF;
    IF EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = name) THEN
        RETURN 'exists';
    END IF;
    -- One maker at a time; who waited looks again. By a query, which sees what was committed meanwhile: to_regclass
    -- would answer from this session's cache that the table is not there.
    PERFORM pg_advisory_xact_lock(hashtext('metering_make_partition'));
    IF EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = name) THEN
        RETURN 'exists';
    END IF;
    IF EXISTS (SELECT FROM public.metering_event_default WHERE event_hour >= first_hour AND event_hour < end_hour) THEN
        RETURN 'blocked';
    END IF;
    EXECUTE format(
        'CREATE TABLE public.%I (LIKE public.metering_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES) '
        'WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.005, '
        'autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 2)',
        name
    );
    EXECUTE format(
        'ALTER TABLE public.metering_event ATTACH PARTITION public.%I FOR VALUES FROM (%s) TO (%s)',
        name, first_hour, end_hour
    );
    PERFORM public.metering_guard_partition(format('public.%I', name)::regclass);
    RETURN 'created';
END
$$;
DROP FUNCTION metering_create_month_table(name);
DROP FUNCTION metering_month_bounds(date);
