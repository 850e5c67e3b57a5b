-- A closed period stays closed.
--
-- Whoever writes entries holds the book open, by a shared lock until the transaction ends; closing and reopening take the
-- same lock for themselves. So a closing waits for all who are writing, they for it, and after it everyone sees it. The
-- lock is taken by the posting function and by a trigger on the entries, the rules of closing stand in triggers on the
-- periods: nothing evades them.
--
-- Periods of a book are closed one after another, without a gap, and the last one is reopened first. What is closed is
-- therefore everything before one moment: the end of the last closed period.

-- Waits for whoever closes the book, and answers from when on it is open. Statements of one transaction must see what
-- others commit meanwhile: with a snapshot of before, the lock would be waited for and the closing not seen.
CREATE OR REPLACE FUNCTION public.ledger_hold_book_open(p_book text) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'the ledger is written at READ COMMITTED, not at %', current_setting('transaction_isolation')
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_entry',
                  CONSTRAINT = 'ledger_is_written_at_read_committed';
    END IF;
    PERFORM pg_advisory_xact_lock_shared(27748, hashtext(p_book));
    RETURN COALESCE(
        (SELECT max(period.ends_at) FROM public.ledger_period AS period
          WHERE period.book_id = p_book AND period.state = 'closed'),
        '-infinity');
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_hold_book_open(text) FROM PUBLIC;

CREATE FUNCTION public.ledger_check_open_period() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    touched record;
    first_open timestamptz;
BEGIN
    FOR touched IN
        SELECT written.book_id, min(written.effective_at) AS effective_at
          FROM written
         GROUP BY written.book_id
         ORDER BY written.book_id
    LOOP
        first_open := public.ledger_hold_book_open(touched.book_id);
        IF touched.effective_at < first_open THEN
            RAISE EXCEPTION 'an entry of % lies in a closed period of the book %, which is open from % on',
                touched.effective_at, touched.book_id, first_open
                USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_entry',
                      CONSTRAINT = 'ledger_closed_period_stays_closed';
        END IF;
    END LOOP;
    RETURN NULL;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_check_open_period() FROM PUBLIC;

CREATE TRIGGER ledger_entries_fall_in_open_periods
    AFTER INSERT ON public.ledger_entry
    REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_check_open_period();
ALTER TABLE public.ledger_entry ENABLE ALWAYS TRIGGER ledger_entries_fall_in_open_periods;

-- Waits for all who write into the book, and keeps them waiting until the transaction ends.
CREATE FUNCTION public.ledger_hold_book_alone(p_book text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'periods are closed at READ COMMITTED, not at %', current_setting('transaction_isolation')
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_period',
                  CONSTRAINT = 'ledger_is_written_at_read_committed';
    END IF;
    PERFORM pg_advisory_xact_lock(27748, hashtext(p_book));
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_hold_book_alone(text) FROM PUBLIC;

-- A period is written closed, next to the last closed one; it changes once, when it is reopened, and no other may be
-- closed after it then. Closing it again makes a new row, the next revision.
CREATE FUNCTION public.ledger_check_period() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reopening constant text[] := ARRAY['state', 'reopened_at', 'reopened_by', 'reopen_reason'];
    last_closed record;
BEGIN
    PERFORM public.ledger_hold_book_alone(NEW.book_id);
    SELECT period.id, period.ends_at INTO last_closed
      FROM public.ledger_period AS period
     WHERE period.book_id = NEW.book_id AND period.state = 'closed'
     ORDER BY period.ends_at DESC
     LIMIT 1;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'closed' OR NEW.starts_at <> last_closed.ends_at THEN
            RAISE EXCEPTION 'the book % is closed up to %, so a period from % on cannot be closed',
                NEW.book_id, last_closed.ends_at, NEW.starts_at
                USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_period',
                      CONSTRAINT = 'ledger_periods_are_closed_in_order';
        END IF;
        NEW.revision := 1 + (
            SELECT count(*) FROM public.ledger_period AS period
             WHERE period.book_id = NEW.book_id AND period.starts_at = NEW.starts_at);
        RETURN NEW;
    END IF;
    IF OLD.state <> 'closed' OR NEW.state <> 'reopened' OR to_jsonb(OLD) - reopening <> to_jsonb(NEW) - reopening THEN
        RAISE EXCEPTION 'UPDATE of ledger_period is refused: a period changes only when it is reopened'
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_period',
                  CONSTRAINT = 'ledger_history_is_append_only';
    END IF;
    IF OLD.id <> last_closed.id THEN
        RAISE EXCEPTION 'the book % is closed up to %, so a period that ends at % cannot be reopened',
            OLD.book_id, last_closed.ends_at, OLD.ends_at
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_period',
                  CONSTRAINT = 'ledger_last_period_is_reopened_first';
    END IF;
    RETURN NEW;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_check_period() FROM PUBLIC;

CREATE TRIGGER ledger_periods_are_closed_in_order
    BEFORE INSERT OR UPDATE ON public.ledger_period
    FOR EACH ROW EXECUTE FUNCTION public.ledger_check_period();
CREATE TRIGGER ledger_period_is_kept
    BEFORE DELETE OR TRUNCATE ON public.ledger_period
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_refuse_change();
ALTER TABLE public.ledger_period ENABLE ALWAYS TRIGGER ledger_periods_are_closed_in_order;
ALTER TABLE public.ledger_period ENABLE ALWAYS TRIGGER ledger_period_is_kept;

-- The snapshot of a closed period: what each account held at its end. Made from the snapshot of the period before and
-- the entries since, so that closing a month costs a month. Accounts that held nothing are left out.
CREATE FUNCTION public.ledger_take_snapshot() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    before_id bigint;
    opened_at timestamptz := '-infinity';
BEGIN
    SELECT period.id, period.ends_at INTO before_id, opened_at
      FROM public.ledger_period AS period
     WHERE period.book_id = NEW.book_id AND period.state = 'closed' AND period.ends_at = NEW.starts_at;
    INSERT INTO public.ledger_period_balance (period_id, account_id, balance_cents)
    SELECT NEW.id, moved.account_id, sum(moved.cents)::bigint
      FROM (SELECT held.account_id, held.balance_cents AS cents
              FROM public.ledger_period_balance AS held
             WHERE held.period_id = before_id
            UNION ALL
            SELECT entry.account_id,
                   CASE WHEN entry.entry_type = account.normal_side THEN entry.amount_cents
                        ELSE -entry.amount_cents END
              FROM public.ledger_entry AS entry
              JOIN public.ledger_account AS account ON account.id = entry.account_id
             WHERE entry.book_id = NEW.book_id
               AND entry.effective_at >= COALESCE(opened_at, '-infinity')
               AND entry.effective_at < NEW.ends_at) AS moved
     GROUP BY moved.account_id
    HAVING sum(moved.cents) <> 0;
    RETURN NULL;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_take_snapshot() FROM PUBLIC;

CREATE TRIGGER ledger_period_has_a_snapshot
    AFTER INSERT ON public.ledger_period
    FOR EACH ROW EXECUTE FUNCTION public.ledger_take_snapshot();
ALTER TABLE public.ledger_period ENABLE ALWAYS TRIGGER ledger_period_has_a_snapshot;

CREATE FUNCTION public.ledger_check_snapshot() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_trigger_depth() < 2 THEN
        RAISE EXCEPTION 'INSERT into ledger_period_balance is refused: a snapshot is taken by closing its period'
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_period_balance',
                  CONSTRAINT = 'ledger_snapshot_is_taken_by_closing';
    END IF;
    RETURN NULL;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_check_snapshot() FROM PUBLIC;

CREATE TRIGGER ledger_snapshot_is_taken_by_closing
    BEFORE INSERT ON public.ledger_period_balance
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_check_snapshot();
CREATE TRIGGER ledger_period_balance_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON public.ledger_period_balance
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_refuse_change();
ALTER TABLE public.ledger_period_balance ENABLE ALWAYS TRIGGER ledger_snapshot_is_taken_by_closing;
ALTER TABLE public.ledger_period_balance ENABLE ALWAYS TRIGGER ledger_period_balance_is_append_only;

-- The two doors. Without a start, a period begins where the last closed one ends.
CREATE FUNCTION public.ledger_close_period(
    p_book text,
    p_starts_at timestamptz,
    p_ends_at timestamptz,
    p_closed_at timestamptz,
    p_closed_by text,
    p_reason text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    begins_at timestamptz;
    closed_id bigint;
BEGIN
    PERFORM public.ledger_hold_book_alone(p_book);
    SELECT COALESCE(p_starts_at, max(period.ends_at)) INTO begins_at
      FROM public.ledger_period AS period
     WHERE period.book_id = p_book AND period.state = 'closed';
    IF begins_at IS NULL THEN
        RAISE EXCEPTION 'the book % has no closed period yet: the first one needs a start', p_book
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_period',
                  CONSTRAINT = 'ledger_first_period_has_a_start';
    END IF;
    INSERT INTO public.ledger_period
        (book_id, starts_at, ends_at, revision, state, closed_at, closed_by, close_reason, reopened_by, reopen_reason)
    VALUES (p_book, begins_at, p_ends_at, 1, 'closed', p_closed_at, p_closed_by, p_reason, '', '')
    RETURNING id INTO closed_id;
    RETURN closed_id;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_close_period(text, timestamptz, timestamptz, timestamptz, text, text) FROM PUBLIC;

CREATE FUNCTION public.ledger_reopen_period(
    p_book text,
    p_starts_at timestamptz,
    p_ends_at timestamptz,
    p_reopened_at timestamptz,
    p_reopened_by text,
    p_reason text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reopened_id bigint;
BEGIN
    PERFORM public.ledger_hold_book_alone(p_book);
    UPDATE public.ledger_period AS period
       SET state = 'reopened', reopened_at = p_reopened_at, reopened_by = p_reopened_by, reopen_reason = p_reason
     WHERE period.book_id = p_book
       AND period.state = 'closed'
       AND period.ends_at = p_ends_at
       AND period.starts_at = COALESCE(p_starts_at, period.starts_at)
    RETURNING period.id INTO reopened_id;
    IF reopened_id IS NULL THEN
        RAISE EXCEPTION 'the book % has no closed period that ends at %', p_book, p_ends_at
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_period',
                  CONSTRAINT = 'ledger_period_to_reopen_is_closed';
    END IF;
    RETURN reopened_id;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_reopen_period(text, timestamptz, timestamptz, timestamptz, text, text) FROM PUBLIC;

-- A reversal is the exact opposite of what it reverses, account by account. Deferred, as its entries come after it.
CREATE FUNCTION public.ledger_check_reversal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (
            SELECT entry.account_id,
                   entry.amount_cents,
                   (entry.entry_type = 'debit') = (entry.transaction_id = NEW.id) AS is_debit_of_reversal,
                   CASE entry.transaction_id WHEN NEW.id THEN 1 ELSE -1 END AS side
              FROM public.ledger_entry AS entry
             WHERE entry.transaction_id IN (NEW.id, NEW.reverses_id)) AS line
         GROUP BY line.account_id, line.amount_cents, line.is_debit_of_reversal
        HAVING sum(line.side) <> 0
    ) THEN
        RAISE EXCEPTION 'transaction % (%) is not the exact opposite of transaction %',
            NEW.id, NEW.idempotency_key, NEW.reverses_id
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_transaction',
                  CONSTRAINT = 'ledger_reversal_is_the_exact_opposite';
    END IF;
    RETURN NULL;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_check_reversal() FROM PUBLIC;

CREATE CONSTRAINT TRIGGER ledger_reversal_is_the_exact_opposite
    AFTER INSERT ON public.ledger_transaction
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.reverses_id IS NOT NULL) EXECUTE FUNCTION public.ledger_check_reversal();
ALTER TABLE public.ledger_transaction ENABLE ALWAYS TRIGGER ledger_reversal_is_the_exact_opposite;
