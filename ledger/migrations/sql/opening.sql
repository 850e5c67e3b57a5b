-- Opening books and accounts. The chart decides sides, floors and shards; a caller only names what to open.

CREATE FUNCTION public.ledger_open_book(p_code text, p_name text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO public.ledger_book (code, name) VALUES (p_code, p_name) ON CONFLICT (code) DO NOTHING;
$$;

REVOKE ALL ON FUNCTION public.ledger_open_book(text, text) FROM PUBLIC;

-- Opens those of the accounts that do not exist yet, in the order of their keys so that two callers never wait for each
-- other. An account that another transaction opens meanwhile is waited for, and found by the next statement.
CREATE FUNCTION public.ledger_open_accounts(
    p_book text,
    p_types text[],
    p_currencies text[],
    p_tenant_ids text[],
    p_channels text[]
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unknown_type text;
BEGIN
    SELECT asked.type INTO unknown_type
      FROM unnest(p_types) AS asked (type)
      LEFT JOIN public.ledger_account_type AS line ON line.name = asked.type
     WHERE line.name IS NULL
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the chart of accounts has no %', COALESCE(unknown_type, 'type that is null')
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_account',
                  CONSTRAINT = 'ledger_account_follows_the_chart';
    END IF;
    IF NOT EXISTS (SELECT FROM public.ledger_book AS book WHERE book.code = p_book) THEN
        RAISE EXCEPTION 'there is no book %', COALESCE(p_book, 'that is null')
            USING ERRCODE = '23514', SCHEMA = 'public', TABLE = 'ledger_account',
                  CONSTRAINT = 'ledger_account_has_a_book';
    END IF;

    WITH opened AS (
        INSERT INTO public.ledger_account
            (book_id, type, code, normal_side, scope, currency, tenant_id, channel, shard_count)
        SELECT p_book, line.name, line.code, line.normal_side, line.scope,
               asked.currency, asked.tenant_id, asked.channel, line.shard_count
          FROM (SELECT DISTINCT type, currency, tenant_id, channel
                  FROM unnest(p_types, p_currencies, p_tenant_ids, p_channels)
                       AS given (type, currency, tenant_id, channel)) AS asked
          JOIN public.ledger_account_type AS line ON line.name = asked.type
         ORDER BY asked.type, asked.currency, asked.tenant_id, asked.channel
            ON CONFLICT (book_id, type, currency, tenant_id, channel) DO NOTHING
        RETURNING id, type, shard_count
    )
    INSERT INTO public.ledger_balance (account_id, shard, balance_cents, last_seq, floor_cents)
    SELECT opened.id, shard.shard, 0, 0, line.floor_cents
      FROM opened
      JOIN public.ledger_account_type AS line ON line.name = opened.type
     CROSS JOIN LATERAL generate_series(0, opened.shard_count - 1) AS shard (shard);
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_open_accounts(text, text[], text[], text[], text[]) FROM PUBLIC;

-- From when on a book is open; holds it so until the transaction ends. Always, until there are periods (periods.sql).
CREATE FUNCTION public.ledger_hold_book_open(p_book text) RETURNS timestamptz
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT '-infinity'::timestamptz $$;

REVOKE ALL ON FUNCTION public.ledger_hold_book_open(text) FROM PUBLIC;
