-- Nothing posted changes or goes, whoever asks: the service, the owner, or a session that replays a replica's changes.

CREATE FUNCTION public.ledger_refuse_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: what the ledger holds never changes', TG_OP, TG_TABLE_NAME
        USING ERRCODE = '23514',
              SCHEMA = TG_TABLE_SCHEMA,
              TABLE = TG_TABLE_NAME,
              CONSTRAINT = 'ledger_history_is_append_only',
              HINT = 'Post the opposite transaction instead.';
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_refuse_change() FROM PUBLIC;

CREATE TRIGGER ledger_book_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON public.ledger_book
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_refuse_change();
CREATE TRIGGER ledger_account_type_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON public.ledger_account_type
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_refuse_change();
CREATE TRIGGER ledger_account_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON public.ledger_account
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_refuse_change();
CREATE TRIGGER ledger_transaction_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON public.ledger_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_refuse_change();
CREATE TRIGGER ledger_entry_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON public.ledger_entry
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_refuse_change();

-- A balance moves with its entries; whose balance it is and how low it may go does not.
CREATE TRIGGER ledger_balance_is_kept
    BEFORE DELETE OR TRUNCATE OR UPDATE OF id, account_id, shard, floor_cents ON public.ledger_balance
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_refuse_change();

ALTER TABLE public.ledger_book ENABLE ALWAYS TRIGGER ledger_book_is_append_only;
ALTER TABLE public.ledger_account_type ENABLE ALWAYS TRIGGER ledger_account_type_is_append_only;
ALTER TABLE public.ledger_account ENABLE ALWAYS TRIGGER ledger_account_is_append_only;
ALTER TABLE public.ledger_transaction ENABLE ALWAYS TRIGGER ledger_transaction_is_append_only;
ALTER TABLE public.ledger_entry ENABLE ALWAYS TRIGGER ledger_entry_is_append_only;
ALTER TABLE public.ledger_balance ENABLE ALWAYS TRIGGER ledger_balance_is_kept;
