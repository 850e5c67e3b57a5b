-- Every transaction balances and is whole; every balance is the sum of its entries, without a gap.
--
-- Inside the checks, only look-ups by index are left to the planner (checking.sql).

CREATE TRIGGER ledger_entries_balance
    AFTER INSERT ON public.ledger_entry
    REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_check_entries();

ALTER TABLE public.ledger_entry ENABLE ALWAYS TRIGGER ledger_entries_balance;

-- A header without entries would balance by saying nothing. With one entry it has all of them, as checked above.
CREATE FUNCTION public.ledger_check_header() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM public.ledger_entry AS entry WHERE entry.transaction_id = NEW.id AND entry.line_no = 1
    ) THEN
        RAISE EXCEPTION 'transaction % (%) has no entries', NEW.id, NEW.idempotency_key
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_transaction',
                  CONSTRAINT = 'ledger_transaction_has_its_entries';
    END IF;
    RETURN NULL;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_check_header() FROM PUBLIC;

-- Deferred, because the entries refer to the header and so come after it.
CREATE CONSTRAINT TRIGGER ledger_transaction_has_its_entries
    AFTER INSERT ON public.ledger_transaction
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION public.ledger_check_header();

ALTER TABLE public.ledger_transaction ENABLE ALWAYS TRIGGER ledger_transaction_has_its_entries;
