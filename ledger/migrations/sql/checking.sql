-- What ledger_entries_balance checks (balanced.sql): the entries of one statement, whoever wrote them.
--
-- The checks stand on the table, not in the posting function, so that they hold for whoever writes. They run once for a
-- statement, over its own rows: a trigger for each entry was measured a quarter dearer in bulk, and quadratic on long
-- transactions. Inside, only look-ups by index are left to the planner: a plan made while the ledger was small is kept by
-- the session, and would read the whole ledger at each posting once it is large.
--
-- It is run again by a later migration: a database that was made with an earlier text of it gets this one.

CREATE OR REPLACE FUNCTION public.ledger_check_entries() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    wrong record;
BEGIN
    -- All lines of a transaction arrive together: 1 to entry_count, none twice (a unique key). An entry appended to an
    -- old transaction therefore falls here without a look at the old rows.
    SELECT header.id, header.idempotency_key, lines.debit_cents, lines.credit_cents, header.amount_cents,
           header.effective_at <> lines.first_effective_at
           OR header.effective_at <> lines.last_effective_at AS is_of_another_date
      INTO wrong
      FROM (SELECT written.transaction_id,
                   count(*) AS line_count,
                   min(written.line_no) AS first_line,
                   max(written.line_no) AS last_line,
                   sum(CASE WHEN written.entry_type = 'debit' THEN written.amount_cents ELSE 0 END) AS debit_cents,
                   sum(CASE WHEN written.entry_type = 'credit' THEN written.amount_cents ELSE 0 END) AS credit_cents,
                   min(written.effective_at) AS first_effective_at,
                   max(written.effective_at) AS last_effective_at
              FROM written
             GROUP BY written.transaction_id) AS lines
      LEFT JOIN public.ledger_transaction AS header ON header.id = lines.transaction_id
     WHERE header.id IS NULL
        OR lines.first_line <> 1
        OR lines.last_line <> lines.line_count
        OR lines.line_count <> header.entry_count
        OR lines.debit_cents <> lines.credit_cents
        OR lines.debit_cents <> header.amount_cents
        OR lines.first_effective_at <> header.effective_at
        OR lines.last_effective_at <> header.effective_at
     LIMIT 1;
    IF FOUND THEN
        IF wrong.debit_cents <> wrong.credit_cents OR wrong.debit_cents <> wrong.amount_cents THEN
            RAISE EXCEPTION 'transaction % (%): debits are %, credits %, its amount %',
                wrong.id, wrong.idempotency_key, wrong.debit_cents, wrong.credit_cents, wrong.amount_cents
                USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_entry',
                      CONSTRAINT = 'ledger_transaction_balances';
        ELSIF wrong.is_of_another_date THEN
            RAISE EXCEPTION 'transaction % (%): its entries have another effective_at', wrong.id, wrong.idempotency_key
                USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_entry',
                      CONSTRAINT = 'ledger_entry_has_its_transactions_date';
        END IF;
        RAISE EXCEPTION 'transaction % (%): its entries are not written whole', wrong.id, wrong.idempotency_key
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_entry',
                  CONSTRAINT = 'ledger_transaction_is_whole';
    END IF;

    -- Each account's new entries continue its last one, number by number and cent by cent, and end where its balance
    -- row stands, never below the floor on the way. What each step moved is worked out for the debit side; for an account
    -- whose normal side is the other it counts with the other sign, so that the side is asked once for an account and not
    -- once for an entry.
    SELECT chain.account_id, chain.shard, chain.first_seq, chain.last_seq, chain.lowest_cents, balance.floor_cents
      INTO wrong
      FROM (SELECT step.account_id,
                   step.shard,
                   min(step.account_seq) AS first_seq,
                   max(step.account_seq) AS last_seq,
                   count(*) AS step_count,
                   min(step.balance_after_cents) AS lowest_cents,
                   sum(step.debit_cents) AS debit_cents,
                   sum(step.balance_after_cents) FILTER (WHERE step.before_cents IS NULL) AS first_after_cents,
                   sum(step.debit_cents) FILTER (WHERE step.before_cents IS NULL) AS first_debit_cents,
                   bool_and(step.balance_after_cents - step.before_cents = step.debit_cents) AS debit_side_holds,
                   bool_and(step.before_cents - step.balance_after_cents = step.debit_cents) AS credit_side_holds
              FROM (SELECT written.account_id,
                           written.shard,
                           written.account_seq,
                           written.balance_after_cents,
                           CASE WHEN written.entry_type = 'debit' THEN written.amount_cents
                                ELSE -written.amount_cents END AS debit_cents,
                           -- NULL at the first step alone: the column is never NULL.
                           lag(written.balance_after_cents) OVER run AS before_cents
                      FROM written
                    WINDOW run AS (PARTITION BY written.account_id, written.shard ORDER BY written.account_seq)) AS step
             GROUP BY step.account_id, step.shard) AS chain
      LEFT JOIN public.ledger_account AS account ON account.id = chain.account_id
      LEFT JOIN public.ledger_balance AS balance
             ON balance.account_id = chain.account_id AND balance.shard = chain.shard
      LEFT JOIN public.ledger_entry AS previous
             ON previous.account_id = chain.account_id
            AND previous.shard = chain.shard
            AND previous.account_seq = chain.first_seq - 1
     WHERE chain.last_seq - chain.first_seq + 1 <> chain.step_count
        OR chain.first_seq < 1
        OR (chain.first_seq > 1 AND previous.account_seq IS NULL)
        OR account.id IS NULL
        OR balance.account_id IS NULL
        OR balance.last_seq <> chain.last_seq
        OR chain.first_after_cents - COALESCE(previous.balance_after_cents, 0)
           <> CASE account.normal_side WHEN 'debit' THEN chain.first_debit_cents ELSE -chain.first_debit_cents END
        OR balance.balance_cents - COALESCE(previous.balance_after_cents, 0)
           <> CASE account.normal_side WHEN 'debit' THEN chain.debit_cents ELSE -chain.debit_cents END
        OR NOT CASE account.normal_side WHEN 'debit' THEN chain.debit_side_holds ELSE chain.credit_side_holds END
        OR chain.lowest_cents < balance.floor_cents
     LIMIT 1;
    IF FOUND THEN
        IF wrong.lowest_cents < wrong.floor_cents THEN
            RAISE EXCEPTION 'account %: its balance would fall to %, below %',
                wrong.account_id, wrong.lowest_cents, wrong.floor_cents
                USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_balance',
                      CONSTRAINT = 'ledger_balance_not_below_floor';
        END IF;
        RAISE EXCEPTION 'account % (shard %): entries % to % do not continue its balance',
            wrong.account_id, wrong.shard, wrong.first_seq, wrong.last_seq
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_entry',
                  CONSTRAINT = 'ledger_balance_is_the_sum_of_its_entries';
    END IF;
    RETURN NULL;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_check_entries() FROM PUBLIC;
