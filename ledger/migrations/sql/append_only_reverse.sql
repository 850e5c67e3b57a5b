DROP TRIGGER ledger_balance_is_kept ON public.ledger_balance;
DROP TRIGGER ledger_entry_is_append_only ON public.ledger_entry;
DROP TRIGGER ledger_transaction_is_append_only ON public.ledger_transaction;
DROP TRIGGER ledger_account_is_append_only ON public.ledger_account;
DROP TRIGGER ledger_account_type_is_append_only ON public.ledger_account_type;
DROP TRIGGER ledger_book_is_append_only ON public.ledger_book;
DROP FUNCTION public.ledger_refuse_change();
