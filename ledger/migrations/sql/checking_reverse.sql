DROP FUNCTION public.ledger_check_entries();
