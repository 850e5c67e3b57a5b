DROP FUNCTION public.ledger_seal_next_block(text);
DROP TRIGGER ledger_block_is_append_only ON public.ledger_block;
