DROP FUNCTION public.ledger_open_accounts(text, text[], text[], text[], text[]);
DROP FUNCTION public.ledger_open_book(text, text);
