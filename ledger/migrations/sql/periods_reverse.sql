DROP TRIGGER ledger_reversal_is_the_exact_opposite ON public.ledger_transaction;
DROP FUNCTION public.ledger_check_reversal();
DROP FUNCTION public.ledger_reopen_period(text, timestamptz, timestamptz, timestamptz, text, text);
DROP FUNCTION public.ledger_close_period(text, timestamptz, timestamptz, timestamptz, text, text);
DROP TRIGGER ledger_period_balance_is_append_only ON public.ledger_period_balance;
DROP TRIGGER ledger_snapshot_is_taken_by_closing ON public.ledger_period_balance;
DROP FUNCTION public.ledger_check_snapshot();
DROP TRIGGER ledger_period_has_a_snapshot ON public.ledger_period;
DROP FUNCTION public.ledger_take_snapshot();
DROP TRIGGER ledger_period_is_kept ON public.ledger_period;
DROP TRIGGER ledger_periods_are_closed_in_order ON public.ledger_period;
DROP FUNCTION public.ledger_check_period();
DROP FUNCTION public.ledger_hold_book_alone(text);
DROP TRIGGER ledger_entries_fall_in_open_periods ON public.ledger_entry;
DROP FUNCTION public.ledger_check_open_period();

CREATE OR REPLACE FUNCTION public.ledger_hold_book_open(p_book text) RETURNS timestamptz
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT '-infinity'::timestamptz $$;
