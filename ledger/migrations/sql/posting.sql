-- The one door: posts any number of transactions in one round trip. All or none: it raises, or each fact is in the books.
--
-- Three groups of arrays: the transactions, the accounts that they touch (each named once), and their entries, which
-- point into the other two by position from 1. Within a group, arrays are read side by side.
--
-- The order of its locks is the same for every caller, so that no two callers wait for each other: keys in key order,
-- then accounts to open in key order, then balance rows by account and shard.
--
-- What it does not check itself, the tables do (balanced.sql, and the constraints): sums, whole transactions, positive
-- amounts, currencies, tenants, floors.

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
    p_account_types text[],
    p_account_currencies text[],
    p_account_tenant_ids text[],
    p_account_channels text[],
    p_entry_transactions integer[],
    p_entry_accounts integer[],
    p_entry_types text[],
    p_amounts_cents bigint[]
) RETURNS TABLE (posted_id bigint, posted_effective_at timestamptz, posted_at timestamptz, is_replay boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
    fresh_ids bigint[];       -- by position; null where the fact was in the books before
    all_ids bigint[];         -- by position
    account_ids bigint[];     -- by position, as the two that follow
    account_sides text[];
    account_shards smallint[];
    conflicting_key text;
BEGIN
    -- An entry that points outside would be dropped in silence by the joins below.
    IF EXISTS (
        SELECT FROM unnest(p_entry_transactions, p_entry_accounts, p_entry_types, p_amounts_cents)
                    AS entry (transaction, account, type, amount_cents)
         WHERE (entry.transaction BETWEEN 1 AND cardinality(p_idempotency_keys)) IS NOT TRUE
            OR (entry.account BETWEEN 1 AND cardinality(p_account_types)) IS NOT TRUE
    ) THEN
        RAISE EXCEPTION 'an entry names no transaction or no account of this call'
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_entry',
                  CONSTRAINT = 'ledger_entry_points_into_its_batch';
    END IF;

    -- Claim the keys. Whoever writes the same key at this moment is waited for; a key that is there already stays as
    -- it is. Of one key given twice in a call, the first counts.
    WITH fact AS (
        SELECT given.*, row_number() OVER (PARTITION BY given.key ORDER BY given.position) AS nth
          FROM unnest(p_idempotency_keys, p_fingerprints, p_kinds, p_tenant_ids, p_currencies, p_occurred_ats,
                      p_reference_types, p_reference_ids, p_descriptions, p_metadata)
               WITH ORDINALITY AS given (key, fingerprint, kind, tenant_id, currency, occurred_at,
                                         reference_type, reference_id, description, metadata, position)
    ), entries AS (
        SELECT entry.transaction, count(*) AS count,
               sum(CASE WHEN entry.type = 'debit' THEN entry.amount_cents ELSE 0 END) AS debit_cents
          FROM unnest(p_entry_transactions, p_entry_types, p_amounts_cents) AS entry (transaction, type, amount_cents)
         GROUP BY entry.transaction
    ), claimed AS (
        INSERT INTO public.ledger_transaction
            (book_id, idempotency_key, fingerprint, kind, tenant_id, currency, occurred_at, effective_at,
             reference_type, reference_id, description, metadata, entry_count, amount_cents)
        SELECT p_book, fact.key, fact.fingerprint, fact.kind, fact.tenant_id, fact.currency, fact.occurred_at,
               fact.occurred_at, fact.reference_type, fact.reference_id, fact.description, fact.metadata,
               COALESCE(entries.count, 0), COALESCE(entries.debit_cents, 0)
          FROM fact
          LEFT JOIN entries ON entries.transaction = fact.position
         WHERE fact.nth = 1
         ORDER BY fact.key
            ON CONFLICT (book_id, idempotency_key) DO NOTHING
        RETURNING id, idempotency_key
    )
    SELECT array_agg(claimed.id ORDER BY fact.position)
      INTO fresh_ids
      FROM fact
      LEFT JOIN claimed ON claimed.idempotency_key = fact.key AND fact.nth = 1;
    all_ids := fresh_ids;

    IF array_position(fresh_ids, NULL) IS NOT NULL THEN
        -- A new statement sees what was committed while the one above waited.
        SELECT array_agg(header.id ORDER BY fact.position),
               min(fact.key) FILTER (WHERE header.fingerprint IS DISTINCT FROM fact.fingerprint)
          INTO all_ids, conflicting_key
          FROM unnest(p_idempotency_keys, p_fingerprints) WITH ORDINALITY AS fact (key, fingerprint, position)
          LEFT JOIN public.ledger_transaction AS header
                 ON header.book_id = p_book AND header.idempotency_key = fact.key;
        IF conflicting_key IS NOT NULL THEN
            RAISE EXCEPTION 'the key % was posted with other facts', conflicting_key
                USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_transaction',
                      CONSTRAINT = 'ledger_fact_posted_once', DETAIL = conflicting_key;
        END IF;
    END IF;

    IF array_remove(fresh_ids, NULL) <> '{}' THEN
        FOR attempt IN 1..2 LOOP
            SELECT array_agg(account.id ORDER BY named.position),
                   array_agg(account.normal_side ORDER BY named.position),
                   array_agg(pg_backend_pid() % account.shard_count ORDER BY named.position)
              INTO account_ids, account_sides, account_shards
              FROM unnest(p_account_types, p_account_currencies, p_account_tenant_ids, p_account_channels)
                   WITH ORDINALITY AS named (type, currency, tenant_id, channel, position)
              LEFT JOIN public.ledger_account AS account
                     ON account.book_id = p_book
                    AND account.type = named.type
                    AND account.currency = named.currency
                    AND account.tenant_id = named.tenant_id
                    AND account.channel = named.channel;
            EXIT WHEN array_position(account_ids, NULL) IS NULL;
            PERFORM public.ledger_open_accounts(
                p_book, p_account_types, p_account_currencies, p_account_tenant_ids, p_account_channels);
        END LOOP;

        PERFORM balance.id
           FROM unnest(account_ids, account_shards) AS touched (account_id, shard)
           JOIN public.ledger_balance AS balance
             ON balance.account_id = touched.account_id AND balance.shard = touched.shard
          ORDER BY balance.account_id, balance.shard
            FOR NO KEY UPDATE OF balance;

        WITH line AS (
            SELECT entry.position, header.id AS transaction_id, header.currency, header.tenant_id, header.occurred_at,
                   account.id AS account_id, account.tenant_id AS account_tenant_id, account.shard,
                   entry.type, entry.amount_cents, step.signed_cents,
                   row_number() OVER (PARTITION BY header.id ORDER BY entry.position) AS line_no,
                   row_number() OVER account_run AS step_no,
                   sum(step.signed_cents) OVER account_run AS moved_cents
              FROM unnest(p_entry_transactions, p_entry_accounts, p_entry_types, p_amounts_cents)
                   WITH ORDINALITY AS entry (transaction, account, type, amount_cents, position)
              JOIN unnest(fresh_ids, p_currencies, p_tenant_ids, p_occurred_ats)
                   WITH ORDINALITY AS header (id, currency, tenant_id, occurred_at, position)
                ON header.position = entry.transaction AND header.id IS NOT NULL
              JOIN unnest(account_ids, account_sides, account_shards, p_account_tenant_ids)
                   WITH ORDINALITY AS account (id, normal_side, shard, tenant_id, position)
                ON account.position = entry.account
             CROSS JOIN LATERAL (
                   SELECT CASE WHEN entry.type = account.normal_side THEN entry.amount_cents
                               ELSE -entry.amount_cents END) AS step (signed_cents)
            WINDOW account_run AS (PARTITION BY account.id ORDER BY entry.position ROWS UNBOUNDED PRECEDING)
        ), moved AS (
            UPDATE public.ledger_balance AS balance
               SET balance_cents = balance.balance_cents + change.cents, last_seq = balance.last_seq + change.count
              FROM (SELECT line.account_id, line.shard, sum(line.signed_cents)::bigint AS cents, count(*) AS count
                      FROM line
                     GROUP BY line.account_id, line.shard) AS change
             WHERE balance.account_id = change.account_id AND balance.shard = change.shard
            RETURNING balance.account_id,
                      balance.balance_cents - change.cents AS opening_cents,
                      balance.last_seq - change.count AS opening_seq
        )
        INSERT INTO public.ledger_entry
            (transaction_id, line_no, book_id, currency, tenant_id, account_id, account_tenant_id, shard,
             entry_type, amount_cents, account_seq, balance_after_cents, effective_at)
        SELECT line.transaction_id, line.line_no, p_book, line.currency, line.tenant_id, line.account_id,
               line.account_tenant_id, line.shard, line.type, line.amount_cents,
               moved.opening_seq + line.step_no, moved.opening_cents + line.moved_cents, line.occurred_at
          FROM line
          JOIN moved ON moved.account_id = line.account_id
         ORDER BY line.position;
    END IF;

    RETURN QUERY
        SELECT given.id, given.occurred_at, statement_timestamp(), given.fresh_id IS NULL
          FROM unnest(all_ids, p_occurred_ats, fresh_ids) WITH ORDINALITY
               AS given (id, occurred_at, fresh_id, position)
         ORDER BY given.position;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_post_transactions(
    text, text[], bytea[], text[], text[], text[], timestamptz[], text[], text[], text[], jsonb[],
    text[], text[], text[], text[], integer[], integer[], text[], bigint[]) FROM PUBLIC;
