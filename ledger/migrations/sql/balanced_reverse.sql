DROP TRIGGER ledger_transaction_has_its_entries ON public.ledger_transaction;
DROP FUNCTION public.ledger_check_header();
DROP TRIGGER ledger_entries_balance ON public.ledger_entry;
