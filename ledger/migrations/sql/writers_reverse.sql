ALTER TABLE public.ledger_transaction
    DROP COLUMN system_identifier,
    DROP COLUMN written_xid;

DROP FUNCTION public.ledger_system_identifier();
