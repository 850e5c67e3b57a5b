DROP FUNCTION public.ledger_hold_book_open(text);
DROP FUNCTION public.ledger_open_accounts(text, text[], text[], text[], text[]);
DROP FUNCTION public.ledger_open_book(text, text);
