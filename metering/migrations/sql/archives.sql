-- The life of a month after its retention: sealed, archived, dropped, restored. Each step is a function that runs as the
-- owner, because the service's role owns no table; each refuses what would lose an event.

-- A month's partition: its table's name, its first hour and the hour after its last.
CREATE FUNCTION metering_month_bounds(month date, OUT name name, OUT first_hour integer, OUT end_hour integer)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first_day CONSTANT date := make_date(extract(year FROM month)::int, extract(month FROM month)::int, 1);
BEGIN
    IF month IS NULL OR month < '2000-01-01' OR month >= '2200-01-01' THEN
        RAISE EXCEPTION 'no events are kept for %', month
            USING ERRCODE = '23514', CONSTRAINT = 'metering_partition_month_is_in_bounds';
    END IF;
    name := 'metering_event_' || to_char(first_day, 'YYYY_MM');
    first_hour := extract(epoch FROM first_day)::bigint / 3600;
    end_hour := extract(epoch FROM first_day + interval '1 month')::bigint / 3600;
END
$$;
REVOKE ALL ON FUNCTION metering_month_bounds(date) FROM PUBLIC;

-- A table that is fit to become a month's partition, with the same upkeep as one that metering_make_partition makes.
CREATE FUNCTION metering_create_month_table(name name) RETURNS regclass
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE public.%I (LIKE public.metering_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES) '
        'WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.005, '
        'autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 2)',
        name
    );
    RETURN format('public.%I', name)::regclass;
END
$$;
REVOKE ALL ON FUNCTION metering_create_month_table(name) FROM PUBLIC;

ALTER TABLE metering_event_default SET (
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.005,
    autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 2
);

CREATE FUNCTION metering_attach_month(partition regclass, first_hour integer, end_hour integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        'ALTER TABLE public.metering_event ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)',
        partition, first_hour, end_hour
    );
    PERFORM public.metering_guard_partition(partition);
END
$$;
REVOKE ALL ON FUNCTION metering_attach_month(regclass, integer, integer) FROM PUBLIC;

-- Makes the partition of a month, as before. Now the events that blocked a month may have been moved, to a partition of
-- its own, while this looked for them: then that is the month's partition.
CREATE OR REPLACE FUNCTION metering_make_partition(month date) RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bounds record;
    partition regclass;
BEGIN
    bounds := public.metering_month_bounds(month);
    IF EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = bounds.name) THEN
        RETURN 'exists';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('metering_make_partition'));
    IF EXISTS (
        SELECT FROM public.metering_event_default
        WHERE event_hour >= bounds.first_hour AND event_hour < bounds.end_hour
    ) THEN
        RETURN 'blocked';
    END IF;
    -- By a query, which sees what was committed meanwhile: to_regclass would answer from this session's cache. And after
    -- the look into the default partition, which waits for whoever empties it.
    IF EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = bounds.name) THEN
        RETURN 'exists';
    END IF;
    partition := public.metering_create_month_table(bounds.name);
    PERFORM public.metering_attach_month(partition, bounds.first_hour, bounds.end_hour);
    RETURN 'created';
END
$$;

-- What a table of events holds: how many, how much, and the sum of a hash of each. The sum does not depend on the order;
-- metering/lake/layout.py computes the same from a file.
CREATE FUNCTION metering_event_figures(events regclass, OUT event_count bigint, OUT quantity numeric, OUT digest numeric)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    EXECUTE format(
        $figures$
        SELECT count(*), coalesce(sum(quantity), 0), coalesce(sum(
            ('x' || left(encode(sha256(convert_to(concat_ws(
                E'\x1f', key_hash, (extract(epoch FROM event_timestamp) * 1000000)::bigint, quantity, batch_id,
                (extract(epoch FROM created_at) * 1000000)::bigint, event_hour, series_id, void::int, idempotency_key,
                source, coalesce(corrects, E'\x1e'), properties
            ), 'UTF8')), 'hex'), 16))::bit(64)::bigint
        ), 0)
        FROM %s
        $figures$,
        events
    ) INTO event_count, quantity, digest;
END
$$;
REVOKE ALL ON FUNCTION metering_event_figures(regclass) FROM PUBLIC;

-- Moves a month's events out of the default partition into a partition of their own; answers how many. All of them or,
-- on an error, none. Writers of all months wait while it runs (so that none is refused because its row's place moved
-- meanwhile); readers wait only where they look into the default partition.
--
-- The guard of the default partition is taken down for the move and put up again in the same transaction, under a lock
-- that lets nobody else write there: no one ever sees the table without it.
CREATE FUNCTION metering_drain_month(month date) RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bounds record;
    partition regclass;
    copied bigint;
    deleted bigint;
BEGIN
    bounds := public.metering_month_bounds(month);
    LOCK TABLE ONLY public.metering_event IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE public.metering_event_default IN ACCESS EXCLUSIVE MODE;
    IF NOT EXISTS (
        SELECT FROM public.metering_event_default
        WHERE event_hour >= bounds.first_hour AND event_hour < bounds.end_hour
    ) THEN
        RETURN 0;
    END IF;
    partition := public.metering_create_month_table(bounds.name);
    EXECUTE format(
        'INSERT INTO %s SELECT * FROM public.metering_event_default WHERE event_hour >= %s AND event_hour < %s',
        partition, bounds.first_hour, bounds.end_hour
    );
    GET DIAGNOSTICS copied = ROW_COUNT;
    ALTER TABLE public.metering_event_default DISABLE TRIGGER metering_event_is_append_only;
    DELETE FROM public.metering_event_default
    WHERE event_hour >= bounds.first_hour AND event_hour < bounds.end_hour;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    ALTER TABLE public.metering_event_default ENABLE ALWAYS TRIGGER metering_event_is_append_only;
    IF copied <> deleted THEN
        RAISE EXCEPTION 'copied % events of %, but deleted %', copied, month, deleted
            USING ERRCODE = '23514', CONSTRAINT = 'metering_month_is_drained_whole';
    END IF;
    PERFORM public.metering_attach_month(partition, bounds.first_hour, bounds.end_hour);
    RETURN copied;
END
$$;
REVOKE ALL ON FUNCTION metering_drain_month(date) FROM PUBLIC;

-- Closes a month for good: from here on it takes no event from anyone, so that what is archived is what is dropped.
-- Answers sealed, or missing where the month has no partition. Waits for writers that are in the month.
CREATE FUNCTION metering_seal_month(month date) RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bounds record;
    first_day date;
BEGIN
    bounds := public.metering_month_bounds(month);
    first_day := to_timestamp(bounds.first_hour::bigint * 3600) AT TIME ZONE 'UTC';
    IF first_day + interval '1 month' > clock_timestamp() AT TIME ZONE 'UTC' THEN
        RAISE EXCEPTION 'the month % is not over', first_day
            USING ERRCODE = '23514', CONSTRAINT = 'metering_month_is_over_before_it_is_sealed';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('metering_seal_month'));
    IF EXISTS (SELECT FROM public.metering_archived_month AS stored
               WHERE stored.month = first_day AND stored.restored_at IS NULL) THEN
        RETURN 'sealed';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = bounds.name) THEN
        RETURN 'missing';
    END IF;
    EXECUTE format(
        'ALTER TABLE public.%I ADD CONSTRAINT metering_event_month_is_archived CHECK (false) NOT VALID', bounds.name
    );
    DELETE FROM public.metering_archived_file AS stored WHERE stored.month = first_day;  -- of an earlier archive
    DELETE FROM public.metering_archived_month AS stored WHERE stored.month = first_day;
    INSERT INTO public.metering_archived_month (month, sealed_at, manifest_path, manifest_sha256)
    VALUES (first_day, clock_timestamp(), '', '');
    RETURN 'sealed';
END
$$;
REVOKE ALL ON FUNCTION metering_seal_month(date) FROM PUBLIC;

-- Opens a month again that was sealed but not dropped.
CREATE FUNCTION metering_unseal_month(month date) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bounds record;
BEGIN
    bounds := public.metering_month_bounds(month);
    UPDATE public.metering_archived_month AS stored SET restored_at = clock_timestamp()
    WHERE stored.month = metering_unseal_month.month AND stored.dropped_at IS NULL AND stored.restored_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the month % is not sealed, or was dropped', month
            USING ERRCODE = '23514', CONSTRAINT = 'metering_month_is_unsealed_before_it_is_dropped';
    END IF;
    EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT metering_event_month_is_archived', bounds.name);
END
$$;
REVOKE ALL ON FUNCTION metering_unseal_month(date) FROM PUBLIC;

-- Records that a sealed month's archive is whole: what was read back from its files is what the partition holds. The
-- partition is counted here, by the database itself.
CREATE FUNCTION metering_verify_month(month date, manifest_path text, manifest_sha256 text) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bounds record;
    held record;
    archived record;
BEGIN
    bounds := public.metering_month_bounds(month);
    PERFORM FROM public.metering_archived_month AS stored
    WHERE stored.month = metering_verify_month.month AND stored.dropped_at IS NULL AND stored.restored_at IS NULL
    FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the month % is not sealed, or was dropped', month
            USING ERRCODE = '23514', CONSTRAINT = 'metering_month_is_verified_while_it_is_sealed';
    END IF;
    held := public.metering_event_figures(format('public.%I', bounds.name)::regclass);
    SELECT coalesce(sum(event_count), 0) AS event_count, coalesce(sum(quantity), 0) AS quantity,
        coalesce(sum(digest), 0) AS digest
    INTO archived
    FROM public.metering_archived_file AS file WHERE file.month = metering_verify_month.month;
    IF (held.event_count, held.quantity, held.digest) IS DISTINCT FROM
        (archived.event_count, archived.quantity, archived.digest) THEN
        RAISE EXCEPTION 'the archive of % holds % events of % in all, the database % of %', month,
            archived.event_count, archived.quantity, held.event_count, held.quantity
            USING ERRCODE = '23514', CONSTRAINT = 'metering_archive_holds_what_its_month_holds';
    END IF;
    UPDATE public.metering_archived_month AS stored SET
        event_count = held.event_count, quantity = held.quantity, digest = held.digest,
        manifest_path = metering_verify_month.manifest_path, manifest_sha256 = metering_verify_month.manifest_sha256,
        verified_at = clock_timestamp()
    WHERE stored.month = metering_verify_month.month;
END
$$;
REVOKE ALL ON FUNCTION metering_verify_month(date, text, text) FROM PUBLIC;

-- Whether a window of these hours waits to be summarised.
CREATE FUNCTION metering_month_is_pending(first_hour integer, end_hour integer) RETURNS boolean
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM public.metering_touched_window AS batch CROSS JOIN unnest(batch.hours) AS event_hour
        WHERE event_hour >= first_hour AND event_hour < end_hour
    ) OR EXISTS (
        SELECT FROM public.metering_quarantined_window WHERE event_hour >= first_hour AND event_hour < end_hour
    )
$$;
REVOKE ALL ON FUNCTION metering_month_is_pending(integer, integer) FROM PUBLIC;

-- Drops the events of a month whose archive was verified, and leaves an empty, sealed partition in their place, so that
-- an event of that month is refused and does not fall into the default partition. Answers dropped, or pending while one
-- of its windows waits to be summarised. Readers and writers of all months wait for the moment of the exchange.
CREATE FUNCTION metering_drop_month(month date) RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bounds record;
    stored record;
    tombstone regclass;
BEGIN
    bounds := public.metering_month_bounds(month);
    SELECT * INTO stored FROM public.metering_archived_month AS archived
    WHERE archived.month = metering_drop_month.month FOR UPDATE;
    IF NOT FOUND OR stored.verified_at IS NULL OR stored.restored_at IS NOT NULL OR NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conname = 'metering_event_month_is_archived' AND conrelid = format('public.%I', bounds.name)::regclass
    ) THEN
        RAISE EXCEPTION 'the archive of % was not verified', month
            USING ERRCODE = '23514', CONSTRAINT = 'metering_month_is_dropped_after_its_archive_is_verified';
    END IF;
    IF stored.dropped_at IS NOT NULL THEN
        RETURN 'dropped';
    END IF;
    IF public.metering_month_is_pending(bounds.first_hour, bounds.end_hour) THEN
        RETURN 'pending';
    END IF;
    -- Asked again under the lock: whoever recomputes or touches windows holds the event store meanwhile.
    LOCK TABLE ONLY public.metering_event IN ACCESS EXCLUSIVE MODE;
    IF public.metering_month_is_pending(bounds.first_hour, bounds.end_hour) THEN
        RETURN 'pending';
    END IF;
    EXECUTE format('ALTER TABLE public.metering_event DETACH PARTITION public.%I', bounds.name);
    EXECUTE format('DROP TABLE public.%I', bounds.name);
    tombstone := public.metering_create_month_table(bounds.name);
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT metering_event_month_is_archived CHECK (false)', tombstone);
    PERFORM public.metering_attach_month(tombstone, bounds.first_hour, bounds.end_hour);
    UPDATE public.metering_archived_month AS archived SET dropped_at = clock_timestamp()
    WHERE archived.month = metering_drop_month.month;
    RETURN 'dropped';
END
$$;
REVOKE ALL ON FUNCTION metering_drop_month(date) FROM PUBLIC;

-- Makes the table that a dropped month is restored into, and lets the caller write to it. It is seen by nobody else
-- until metering_finish_restore, in the same transaction, has found it whole.
CREATE FUNCTION metering_begin_restore(month date) RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bounds record;
    name name;
BEGIN
    bounds := public.metering_month_bounds(month);
    PERFORM FROM public.metering_archived_month AS archived
    WHERE archived.month = metering_begin_restore.month AND archived.dropped_at IS NOT NULL
        AND archived.restored_at IS NULL
    FOR UPDATE NOWAIT;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the month % was not dropped', month
            USING ERRCODE = '23514', CONSTRAINT = 'metering_month_is_restored_after_it_was_dropped';
    END IF;
    name := 'metering_restored_' || to_char(month, 'YYYY_MM');
    PERFORM public.metering_create_month_table(name);
    -- Spares the scan when it is attached.
    EXECUTE format(
        'ALTER TABLE public.%I ADD CONSTRAINT metering_restored_is_of_its_month CHECK (event_hour >= %s AND event_hour < %s)',
        name, bounds.first_hour, bounds.end_hour
    );
    EXECUTE format('GRANT INSERT ON public.%I TO %I', name, session_user);
    RETURN name;
END
$$;
REVOKE ALL ON FUNCTION metering_begin_restore(date) FROM PUBLIC;

CREATE FUNCTION metering_finish_restore(month date) RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bounds record;
    stored record;
    held record;
    name name;
BEGIN
    bounds := public.metering_month_bounds(month);
    name := 'metering_restored_' || to_char(month, 'YYYY_MM');
    SELECT * INTO stored FROM public.metering_archived_month AS archived
    WHERE archived.month = metering_finish_restore.month FOR UPDATE;
    IF NOT FOUND OR stored.dropped_at IS NULL OR stored.restored_at IS NOT NULL THEN
        RAISE EXCEPTION 'the month % was not dropped', month
            USING ERRCODE = '23514', CONSTRAINT = 'metering_month_is_restored_after_it_was_dropped';
    END IF;
    held := public.metering_event_figures(format('public.%I', name)::regclass);
    IF (held.event_count, held.quantity, held.digest) IS DISTINCT FROM
        (stored.event_count, stored.quantity, stored.digest) THEN
        RAISE EXCEPTION 'restored % events of % in all, but the archive of % holds % of %',
            held.event_count, held.quantity, month, stored.event_count, stored.quantity
            USING ERRCODE = '23514', CONSTRAINT = 'metering_month_is_restored_whole';
    END IF;
    EXECUTE format('REVOKE ALL ON public.%I FROM %I', name, session_user);
    EXECUTE format('ALTER TABLE public.metering_event DETACH PARTITION public.%I', bounds.name);
    EXECUTE format('DROP TABLE public.%I', bounds.name);
    EXECUTE format('ALTER TABLE public.%I RENAME TO %I', name, bounds.name);
    PERFORM public.metering_attach_month(
        format('public.%I', bounds.name)::regclass, bounds.first_hour, bounds.end_hour
    );
    EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT metering_restored_is_of_its_month', bounds.name);
    UPDATE public.metering_archived_month AS archived SET restored_at = clock_timestamp()
    WHERE archived.month = metering_finish_restore.month;
    RETURN held.event_count;
END
$$;
REVOKE ALL ON FUNCTION metering_finish_restore(date) FROM PUBLIC;

-- A key is kept as long as its event, and at least 13 months from its arrival; only then it may be deleted, by whomever.
-- The rule stands in place of the one that refused every deletion.
CREATE FUNCTION metering_refuse_early_forgetting() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF OLD.created_at < clock_timestamp() - interval '13 months' AND EXISTS (
        SELECT FROM public.metering_archived_month AS archived
        WHERE archived.month = date_trunc('month', to_timestamp(OLD.event_hour::bigint * 3600) AT TIME ZONE 'UTC')::date
            AND archived.dropped_at IS NOT NULL AND archived.restored_at IS NULL
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'DELETE on metering_event_key is refused: the key still guards its event'
        USING ERRCODE = '23514', CONSTRAINT = 'metering_event_key_is_append_only',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END
$$;
REVOKE ALL ON FUNCTION metering_refuse_early_forgetting() FROM PUBLIC;

DROP TRIGGER metering_event_key_is_append_only ON metering_event_key;
CREATE TRIGGER metering_event_key_is_append_only
    BEFORE UPDATE ON metering_event_key
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change('metering_event_key_is_append_only');
CREATE TRIGGER metering_event_key_outlives_its_event
    BEFORE DELETE ON metering_event_key
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_early_forgetting();
ALTER TABLE metering_event_key ENABLE ALWAYS TRIGGER metering_event_key_is_append_only;
ALTER TABLE metering_event_key ENABLE ALWAYS TRIGGER metering_event_key_outlives_its_event;

-- Forgets these keys, which the archive's file names; answers how many were still there. The trigger above refuses all
-- of them when one is too young. Found by the primary key, so a slice costs the same however many keys are kept.
CREATE FUNCTION metering_expire_keys(key_hashes uuid[]) RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    deleted bigint;
BEGIN
    -- In their order, so that two who forget the same keys wait for each other instead of dying of a deadlock.
    DELETE FROM public.metering_event_key
    WHERE key_hash = ANY(ARRAY(
        SELECT key_hash FROM public.metering_event_key WHERE key_hash = ANY(key_hashes) ORDER BY key_hash FOR UPDATE
    ));
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$$;
REVOKE ALL ON FUNCTION metering_expire_keys(uuid[]) FROM PUBLIC;
