-- The event store. Identity lives in metering_event_key, because a UNIQUE constraint here would have to include the
-- time, and a retry with another time would count twice.
CREATE TABLE metering_event (
    key_hash uuid NOT NULL,
    event_timestamp timestamptz NOT NULL,
    quantity bigint NOT NULL,
    batch_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    event_hour integer NOT NULL,
    series_id integer NOT NULL,
    void boolean NOT NULL,
    idempotency_key text NOT NULL,
    source text NOT NULL,
    corrects text,
    properties jsonb NOT NULL,
    CONSTRAINT metering_event_hour_is_that_of_its_timestamp CHECK (
        event_timestamp >= to_timestamp(event_hour::bigint * 3600)
        AND event_timestamp < to_timestamp((event_hour::bigint + 1) * 3600)
    ),
    CONSTRAINT metering_event_quantity_is_in_bounds CHECK (quantity BETWEEN 0 AND 1000000000000000),
    CONSTRAINT metering_event_void_corrects_an_event CHECK (NOT void OR (corrects IS NOT NULL AND quantity = 0))
) PARTITION BY RANGE (event_hour);

-- What a window is recomputed from, without a look at the rows.
CREATE INDEX metering_event_by_window ON metering_event (event_hour, series_id) INCLUDE (quantity);

CREATE TRIGGER metering_event_is_append_only
    BEFORE UPDATE OR DELETE ON metering_event
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_event_is_append_only');
ALTER TABLE metering_event ENABLE ALWAYS TRIGGER metering_event_is_append_only;
CREATE TRIGGER metering_event_is_never_emptied
    BEFORE TRUNCATE ON metering_event
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_change('metering_event_is_append_only');
ALTER TABLE metering_event ENABLE ALWAYS TRIGGER metering_event_is_never_emptied;

-- Row triggers of the parent are cloned to its partitions, TRUNCATE triggers are not: each partition gets its own.
CREATE FUNCTION metering_guard_partition(partition regclass) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER metering_event_is_never_emptied BEFORE TRUNCATE ON %s FOR EACH STATEMENT '
        'EXECUTE FUNCTION public.metering_refuse_change(%L)',
        partition, 'metering_event_is_append_only'
    );
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER metering_event_is_never_emptied', partition);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER metering_event_is_append_only', partition);
END
$$;
REVOKE ALL ON FUNCTION metering_guard_partition(regclass) FROM PUBLIC;

-- Must stay empty: what lies here has no month of its own.
CREATE TABLE metering_event_default PARTITION OF metering_event DEFAULT;
SELECT metering_guard_partition('metering_event_default');

-- Makes the partition of a month, as the owner: the service's role owns no table. Answers created, exists, or blocked
-- when rows of that month lie in the default partition (they must be moved first). The table is made on its own and
-- then attached, because CREATE TABLE ... PARTITION OF would lock out every reader and writer of the parent.
--
-- pg_temp stands last in the search_path and not left out: left out it comes first, and a type of the caller's own, such
-- as pg_temp.name with a CHECK, would run the caller's code as the owner.
CREATE FUNCTION metering_make_partition(month date) RETURNS text
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
REVOKE ALL ON FUNCTION metering_make_partition(date) FROM PUBLIC;

-- Opens a batch: its number, the moment from which its events may become visible, and which database this is (numbers
-- cached by a process are good for one database only). The service may draw numbers, not set them.
CREATE SEQUENCE metering_batch_id_seq AS bigint;
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

-- The keys are written as fast as the events, and the windows are claimed by deleting: both need a livelier autovacuum.
ALTER TABLE metering_event_key SET (
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.005,
    autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 2
);
ALTER TABLE metering_touched_window SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0
);
-- Room in each page, so that a recomputed summary stays where it is and its index entry too.
ALTER TABLE metering_usage_summary SET (fillfactor = 80);
