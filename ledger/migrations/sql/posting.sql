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
    p_entry_amounts_cents bigint[]
) RETURNS TABLE (posted_id bigint, posted_effective_at timestamptz, posted_at timestamptz, is_replay boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    -- All by position: of a transaction, or of an account.
    given_ids bigint[];
    found_ids bigint[];
    conflicting_key text;
    account_ids bigint[];
    account_sides text[];
    account_shards integer[];
    opening_cents bigint[];
    opening_seqs bigint[];
    written bigint;
    first_open timestamptz;
BEGIN
    -- Such an entry would be passed over in silence below.
    IF EXISTS (
        SELECT FROM unnest(p_entry_transactions) AS entry (transaction)
         WHERE (entry.transaction BETWEEN 1 AND cardinality(p_idempotency_keys)) IS NOT TRUE
    ) THEN
        RAISE EXCEPTION 'an entry points to no transaction of this call'
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_entry',
                  CONSTRAINT = 'ledger_entry_points_into_its_batch';
    END IF;

    -- Late facts take effect at the first instant that is still open.
    first_open := public.ledger_hold_book_open(p_book);

    -- Claim the keys. Whoever writes the same key at this moment is waited for; a key that is there already stays as
    -- it is. Of one key given twice in a call, the first counts.
    given_ids := ARRAY(
        SELECT nextval('public.ledger_transaction_id_seq')
          FROM generate_series(1, cardinality(p_idempotency_keys)));
    INSERT INTO public.ledger_transaction
        (id, book_id, idempotency_key, fingerprint, kind, tenant_id, currency, occurred_at, effective_at,
         reference_type, reference_id, description, metadata, entry_count, amount_cents, reverses_id,
         system_identifier)
    SELECT fact.id, p_book, fact.key, fact.fingerprint, fact.kind, fact.tenant_id, fact.currency, fact.occurred_at,
           GREATEST(fact.occurred_at, first_open), fact.reference_type, fact.reference_id, fact.description,
           fact.metadata, fact.entry_count, fact.amount_cents, fact.reverses_id,
           -- The column's default would read the cluster's control file for each row; this does once.
           (SELECT public.ledger_system_identifier())
      FROM unnest(given_ids, p_idempotency_keys, p_fingerprints, p_kinds, p_tenant_ids, p_currencies, p_occurred_ats,
                  p_reference_types, p_reference_ids, p_descriptions, p_metadata, p_entry_counts, p_amounts_cents,
                  p_reverses_ids)
           AS fact (id, key, fingerprint, kind, tenant_id, currency, occurred_at,
                    reference_type, reference_id, description, metadata, entry_count, amount_cents, reverses_id)
     ORDER BY fact.key, fact.id
        ON CONFLICT (book_id, idempotency_key) DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;

    found_ids := given_ids;
    IF written < cardinality(given_ids) THEN
        -- A new statement sees what was committed while the one above waited.
        SELECT array_agg(header.id ORDER BY fact.position),
               min(fact.key) FILTER (WHERE header.fingerprint IS DISTINCT FROM fact.fingerprint)
          INTO found_ids, conflicting_key
          FROM unnest(p_idempotency_keys, p_fingerprints) WITH ORDINALITY AS fact (key, fingerprint, position)
          LEFT JOIN public.ledger_transaction AS header
                 ON header.book_id = p_book AND header.idempotency_key = fact.key;
        IF conflicting_key IS NOT NULL THEN
            RAISE EXCEPTION 'the key % was posted with other facts', conflicting_key
                USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_transaction',
                      CONSTRAINT = 'ledger_fact_posted_once';
        END IF;
    END IF;

    IF written > 0 THEN
        FOR attempt IN 1..2 LOOP
            SELECT array_agg(account.id ORDER BY named.position),
                   array_agg(account.normal_side ORDER BY named.position),
                   array_agg(pg_backend_pid() % account.shard_count ORDER BY named.position)
              INTO account_ids, account_sides, account_shards
              FROM unnest(p_account_types, p_account_currencies, p_account_tenant_ids, p_account_channels)
                   WITH ORDINALITY AS named (type, currency, tenant_id, channel, position)
              LEFT JOIN LATERAL (
                   -- OFFSET 0 keeps this a look-up for each account: joined, a table without statistics is read whole
                   -- for each, by the book alone.
                   SELECT known.id, known.normal_side, known.shard_count
                     FROM public.ledger_account AS known
                    WHERE known.book_id = p_book
                      AND known.type = named.type
                      AND known.currency = named.currency
                      AND known.tenant_id = named.tenant_id
                      AND known.channel = named.channel
                   OFFSET 0) AS account ON true;
            EXIT WHEN array_position(account_ids, NULL) IS NULL;
            PERFORM public.ledger_open_accounts(
                p_book, p_account_types, p_account_currencies, p_account_tenant_ids, p_account_channels);
        END LOOP;

        SELECT array_agg(locked.balance_cents ORDER BY locked.position),
               array_agg(locked.last_seq ORDER BY locked.position)
          INTO opening_cents, opening_seqs
          FROM (SELECT touched.position, balance.balance_cents, balance.last_seq
                  FROM unnest(account_ids, account_shards)
                       WITH ORDINALITY AS touched (account_id, shard, position)
                  JOIN public.ledger_balance AS balance
                    ON balance.account_id = touched.account_id AND balance.shard = touched.shard
                 ORDER BY balance.account_id, balance.shard
                   FOR NO KEY UPDATE OF balance) AS locked;

        WITH line AS MATERIALIZED (
            SELECT entry.*, account_ids[entry.account] AS account_id, step.signed_cents,
                   row_number() OVER account_run AS step_no,
                   sum(step.signed_cents) OVER account_run AS moved_cents
              FROM unnest(p_entry_transactions, p_entry_lines, p_entry_accounts, p_entry_types, p_entry_amounts_cents)
                   WITH ORDINALITY AS entry (transaction, line_no, account, type, amount_cents, position)
             CROSS JOIN LATERAL (
                   SELECT CASE WHEN entry.type = account_sides[entry.account] THEN entry.amount_cents
                               ELSE -entry.amount_cents END) AS step (signed_cents)
             WHERE found_ids[entry.transaction] = given_ids[entry.transaction]
            WINDOW account_run AS (PARTITION BY account_ids[entry.account] ORDER BY entry.position
                                   ROWS UNBOUNDED PRECEDING)
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
        SELECT given_ids[line.transaction], line.line_no, p_book, p_currencies[line.transaction],
               p_tenant_ids[line.transaction], line.account_id, p_account_tenant_ids[line.account],
               account_shards[line.account], line.type, line.amount_cents,
               opening_seqs[line.account] + line.step_no, opening_cents[line.account] + line.moved_cents,
               GREATEST(p_occurred_ats[line.transaction], first_open)
          FROM line
         ORDER BY line.position;
    END IF;

    RETURN QUERY
        SELECT fact.found_id, GREATEST(fact.occurred_at, first_open), statement_timestamp(),
               fact.found_id <> fact.given_id
          FROM unnest(found_ids, given_ids, p_occurred_ats) WITH ORDINALITY
               AS fact (found_id, given_id, occurred_at, position)
         ORDER BY fact.position;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_post_transactions(
    text, text[], bytea[], text[], text[], text[], timestamptz[], text[], text[], text[], jsonb[], integer[], bigint[],
    bigint[], text[], text[], text[], text[], integer[], integer[], integer[], text[], bigint[]) FROM PUBLIC;
