DROP FUNCTION public.ledger_post_transactions(
    text, text[], bytea[], text[], text[], text[], timestamptz[], text[], text[], text[], jsonb[], integer[], bigint[],
    bigint[], text[], text[], text[], text[], integer[], integer[], integer[], text[], bigint[]);
