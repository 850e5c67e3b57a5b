-- Every transaction knows its writer: the database transaction that wrote it, and the cluster in which that number means
-- something. Both come from the server; no function of ours takes them from its caller.

ALTER TABLE public.ledger_transaction
    ADD COLUMN written_xid xid8 NOT NULL DEFAULT pg_current_xact_id();

-- A cluster that is made from a dump has another identifier, and counts its transactions anew.
CREATE FUNCTION public.ledger_system_identifier() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT control.system_identifier FROM pg_control_system() AS control;
$$;

REVOKE ALL ON FUNCTION public.ledger_system_identifier() FROM PUBLIC;

ALTER TABLE public.ledger_transaction
    ADD COLUMN system_identifier bigint NOT NULL DEFAULT public.ledger_system_identifier();
