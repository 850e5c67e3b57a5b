-- The one door: posts any number of transactions in one round trip. All or none: it raises, or each fact is in the books.
--
-- Three groups of arrays: the transactions, the accounts that they touch (each named once), and their entries, which
-- point into the other two by position from 1. Within a group, arrays are read side by side.
--
-- The order of its locks is the same for every caller, so that no two callers wait for each other: the book (shared, so
-- that no period of it is closed meanwhile), keys in key order, then accounts to open in key order, then balance rows by
-- account and shard.
--
-- What it does not check itself, the tables do (balanced.sql, and the constraints): sums, whole transactions, positive
-- amounts, currencies, tenants, floors.
--
-- The planner is left with look-ups by index and one plan for all sizes of call. Otherwise the plan that a session made
-- while the ledger was small would read the whole ledger once it is large, and each call would be planned anew.

-- It is run again by a later migration: a database that was made with an earlier text of it gets this one.
DROP FUNCTION IF EXISTS public.ledger_post_transactions(
    text, text[], bytea[], text[], text[], text[], timestamptz[], text[], text[], text[], jsonb[], integer[], bigint[],
    bigint[], text[], text[], text[], text[], integer[], integer[], integer[], text[], bigint[]);

CREATE FUNCTION public.ledger_post_transactions(
    p_book text,
    p_idempotency_keys text[],
    p_fingerprints bytea[],
    p_kinds text[],
    p_tenant_ids text[],
    p_currencies text[],
    p_occurred_ats timestamptz[],
    p_reference_types text[],
    p_reference_ids text[],
    p_descriptions text[],
    p_metadata jsonb[],
    p_entry_counts integer[],
    p_amounts_cents bigint[],
    p_reverses_ids bigint[],
    p_account_types text[],
    p_account_currencies text[],
    p_account_tenant_ids text[],
    p_account_channels text[],
    p_entry_transactions integer[],
    p_entry_lines integer[],
    p_entry_accounts integer[],
    p_entry_types text[],
    p_entry_amounts_cents bigint[],
    OUT posted_ids bigint[],
    OUT are_replays boolean[],
    OUT open_from timestamptz,
    OUT posted_at timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    transaction_count CONSTANT integer := cardinality(p_idempotency_keys);
    account_count CONSTANT integer := cardinality(p_account_types);
    entry_count CONSTANT integer := cardinality(p_entry_transactions);
    -- All by position: of a transaction, or of an account.
    given_ids bigint[];
    found_ids bigint[];
    conflicting_key text;
    account_ids bigint[];
    account_sides text[];
    account_shards integer[];
    opening_cents bigint[];
    opening_seqs bigint[];
    claimed bigint;
    written bigint;
    first_open timestamptz;
BEGIN
    -- What stands beyond the end of its group would be passed over in silence below; what is missing is NULL there, which
    -- the tables refuse.
    IF (transaction_count >= ALL (ARRAY[
            cardinality(p_fingerprints), cardinality(p_kinds), cardinality(p_tenant_ids), cardinality(p_currencies),
            cardinality(p_occurred_ats), cardinality(p_reference_types), cardinality(p_reference_ids),
            cardinality(p_descriptions), cardinality(p_metadata), cardinality(p_entry_counts),
            cardinality(p_amounts_cents), cardinality(p_reverses_ids)])
        AND account_count >= ALL (ARRAY[
            cardinality(p_account_currencies), cardinality(p_account_tenant_ids), cardinality(p_account_channels)])
        AND entry_count >= ALL (ARRAY[
            cardinality(p_entry_lines), cardinality(p_entry_accounts), cardinality(p_entry_types),
            cardinality(p_entry_amounts_cents)])) IS FALSE
    THEN
        RAISE EXCEPTION 'an array is longer than its group'
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_entry',
                  CONSTRAINT = 'ledger_entry_points_into_its_batch';
    END IF;

    -- Late facts take effect at the first instant that is still open.
    first_open := public.ledger_hold_book_open(p_book);

    -- Claim the keys. Whoever writes the same key at this moment is waited for; a key that is there already stays as
    -- it is. Of one key given twice in a call, the first counts.
    FOR position IN 1..transaction_count LOOP
        given_ids[position] := nextval('public.ledger_transaction_id_seq');
    END LOOP;
    INSERT INTO public.ledger_transaction
        (id, book_id, idempotency_key, fingerprint, kind, tenant_id, currency, occurred_at, effective_at,
         reference_type, reference_id, description, metadata, entry_count, amount_cents, reverses_id,
         system_identifier)
    SELECT given_ids[n], p_book, p_idempotency_keys[n], p_fingerprints[n], p_kinds[n], p_tenant_ids[n],
           p_currencies[n], p_occurred_ats[n], GREATEST(p_occurred_ats[n], first_open), p_reference_types[n],
           p_reference_ids[n], p_descriptions[n], p_metadata[n], p_entry_counts[n], p_amounts_cents[n],
           p_reverses_ids[n],
           -- The column's default would read the cluster's control file for each row; this does once.
           (SELECT public.ledger_system_identifier())
      FROM generate_series(1, transaction_count) AS n
     ORDER BY p_idempotency_keys[n], n
        ON CONFLICT (book_id, idempotency_key) DO NOTHING;
    GET DIAGNOSTICS claimed = ROW_COUNT;

    found_ids := given_ids;
    IF claimed < transaction_count THEN
        -- A new statement sees what was committed while the one above waited.
        SELECT array_agg(header.id ORDER BY n),
               min(p_idempotency_keys[n]) FILTER (WHERE header.fingerprint IS DISTINCT FROM p_fingerprints[n])
          INTO found_ids, conflicting_key
          FROM generate_series(1, transaction_count) AS n
          LEFT JOIN public.ledger_transaction AS header
                 ON header.book_id = p_book AND header.idempotency_key = p_idempotency_keys[n];
        IF conflicting_key IS NOT NULL THEN
            RAISE EXCEPTION 'the key % was posted with other facts', conflicting_key
                USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_transaction',
                      CONSTRAINT = 'ledger_fact_posted_once';
        END IF;
    END IF;

    written := 0;
    IF claimed > 0 THEN
        FOR attempt IN 1..2 LOOP
            WITH account AS MATERIALIZED (
                SELECT named.position, known.id, known.normal_side, known.shard_count
                  FROM generate_series(1, account_count) AS named (position)
                 CROSS JOIN LATERAL (
                       -- OFFSET 0 keeps this a look-up for each account: joined, a table without statistics is read
                       -- whole for each, by the book alone.
                       SELECT stored.id, stored.normal_side, stored.shard_count
                         FROM public.ledger_account AS stored
                        WHERE stored.book_id = p_book
                          AND stored.type = p_account_types[named.position]
                          AND stored.currency = p_account_currencies[named.position]
                          AND stored.tenant_id = p_account_tenant_ids[named.position]
                          AND stored.channel = p_account_channels[named.position]
                       OFFSET 0) AS known
            )
            SELECT array_agg(locked.account_id ORDER BY locked.position),
                   array_agg(locked.normal_side ORDER BY locked.position),
                   array_agg(locked.shard ORDER BY locked.position),
                   array_agg(locked.balance_cents ORDER BY locked.position),
                   array_agg(locked.last_seq ORDER BY locked.position)
              INTO account_ids, account_sides, account_shards, opening_cents, opening_seqs
              FROM (SELECT account.position, account.normal_side,
                           balance.account_id, balance.shard, balance.balance_cents, balance.last_seq
                      FROM account
                      JOIN public.ledger_balance AS balance
                        ON balance.account_id = account.id
                       AND balance.shard = pg_backend_pid() % account.shard_count
                     -- Where one is still to be opened, none is locked yet: opening comes first in the order of locks.
                     WHERE (SELECT count(*) FROM account) = account_count
                     ORDER BY balance.account_id, balance.shard
                       FOR NO KEY UPDATE OF balance) AS locked;
            EXIT WHEN cardinality(account_ids) = account_count;
            PERFORM public.ledger_open_accounts(
                p_book, p_account_types, p_account_currencies, p_account_tenant_ids, p_account_channels);
        END LOOP;

        WITH line AS MATERIALIZED (
            SELECT n, entry.*, account_ids[entry.account] AS account_id, step.signed_cents,
                   row_number() OVER account_run AS step_no,
                   sum(step.signed_cents) OVER account_run AS moved_cents
              FROM generate_series(1, entry_count) AS n
             CROSS JOIN LATERAL (
                   SELECT p_entry_transactions[n] AS transaction, p_entry_accounts[n] AS account,
                          p_entry_types[n] AS type, p_entry_amounts_cents[n] AS amount_cents) AS entry
             CROSS JOIN LATERAL (
                   SELECT CASE WHEN entry.type = account_sides[entry.account] THEN entry.amount_cents
                               ELSE -entry.amount_cents END) AS step (signed_cents)
             WHERE found_ids[entry.transaction] = given_ids[entry.transaction]
            WINDOW account_run AS (PARTITION BY account_ids[entry.account] ORDER BY n ROWS UNBOUNDED PRECEDING)
        ), moved AS (
            UPDATE public.ledger_balance AS balance
               SET balance_cents = balance.balance_cents + change.cents, last_seq = balance.last_seq + change.count
              FROM (SELECT line.account_id, min(line.account) AS account,
                           sum(line.signed_cents)::bigint AS cents, count(*) AS count
                      FROM line
                     GROUP BY line.account_id) AS change
             WHERE balance.account_id = change.account_id AND balance.shard = account_shards[change.account]
        )
        INSERT INTO public.ledger_entry
            (transaction_id, line_no, book_id, currency, tenant_id, account_id, account_tenant_id, shard,
             entry_type, amount_cents, account_seq, balance_after_cents, effective_at)
        SELECT given_ids[line.transaction], p_entry_lines[line.n], p_book, p_currencies[line.transaction],
               p_tenant_ids[line.transaction], line.account_id, p_account_tenant_ids[line.account],
               account_shards[line.account], line.type, line.amount_cents,
               opening_seqs[line.account] + line.step_no, opening_cents[line.account] + line.moved_cents,
               GREATEST(p_occurred_ats[line.transaction], first_open)
          FROM line
         ORDER BY line.n;
        GET DIAGNOSTICS written = ROW_COUNT;
    END IF;

    -- An entry that is neither written nor of a transaction that was there before belongs to none.
    IF written < entry_count AND EXISTS (
        SELECT FROM generate_series(1, entry_count) AS n
         WHERE (p_entry_transactions[n] BETWEEN 1 AND transaction_count) IS NOT TRUE
    ) THEN
        RAISE EXCEPTION 'an entry points to no transaction of this call'
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_entry',
                  CONSTRAINT = 'ledger_entry_points_into_its_batch';
    END IF;

    posted_ids := found_ids;
    are_replays := array_fill(false, ARRAY[transaction_count]);
    IF claimed < transaction_count THEN
        are_replays := ARRAY(
            SELECT found_ids[n] <> given_ids[n] FROM generate_series(1, transaction_count) AS n ORDER BY n);
    END IF;
    open_from := NULLIF(first_open, '-infinity');
    posted_at := statement_timestamp();
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_post_transactions(
    text, text[], bytea[], text[], text[], text[], timestamptz[], text[], text[], text[], jsonb[], integer[], bigint[],
    bigint[], text[], text[], text[], text[], integer[], integer[], integer[], text[], bigint[]) FROM PUBLIC;
