"""
The statements of ``verification``: each reads one page by index and answers its faulty rows, and its last.

They repeat the ledger's rules in their own words and call none of its functions, since whoever could edit rows could
edit those too. ``%(page)s`` bounds what one statement holds in memory.
"""

from typing import Final

# One plan for all pages: a join that reads all of the other table for each page would never end on a large ledger.
SETTINGS: Final = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; "
    "SET LOCAL jit = off"
)
SETTINGS_BACK: Final = (
    "SET LOCAL enable_seqscan = DEFAULT; SET LOCAL enable_hashjoin = DEFAULT; "
    "SET LOCAL enable_mergejoin = DEFAULT; SET LOCAL jit = DEFAULT"
)

# The last entry of the page before is read once more, as what the first new one continues.
ENTRIES: Final = """
    WITH page AS MATERIALIZED (
        SELECT entry.*
          FROM public.ledger_entry AS entry
         WHERE (entry.account_id, entry.shard, entry.account_seq, entry.id)
               >= (%(account)s, %(shard)s, %(seq)s, %(id)s)
           AND (%(book)s::text IS NULL OR EXISTS (
                SELECT FROM public.ledger_account AS account
                 WHERE account.id = entry.account_id AND account.book_id = %(book)s))
         ORDER BY entry.account_id, entry.shard, entry.account_seq, entry.id
         LIMIT %(page)s + 1
    ), step AS (
        SELECT page.*,
               COALESCE(lag(page.account_seq) OVER run, 0) AS seq_before,
               COALESCE(lag(page.balance_after_cents) OVER run, 0) AS cents_before,
               row_number() OVER (ORDER BY page.account_id, page.shard, page.account_seq, page.id) AS place,
               count(*) OVER () AS places
          FROM page
        WINDOW run AS (PARTITION BY page.account_id, page.shard ORDER BY page.account_seq, page.id)
    ), judged AS (
        SELECT step.account_id, step.shard, step.account_seq, step.id, step.place, step.places,
               CASE WHEN step.id = %(id)s AND step.place = 1 THEN '{}' ELSE array_remove(ARRAY[
                   CASE WHEN account.id IS NULL THEN 'entry_has_no_account' END,
                   CASE WHEN header.id IS NULL THEN 'entry_has_no_transaction' END,
                   CASE WHEN balance.id IS NULL THEN 'entry_has_no_balance' END,
                   CASE WHEN (step.book_id, step.currency, step.account_tenant_id)
                             <> (account.book_id, account.currency, account.tenant_id)
                        THEN 'entry_differs_from_its_account' END,
                   CASE WHEN (step.book_id, step.currency, step.tenant_id)
                             <> (header.book_id, header.currency, header.tenant_id)
                        THEN 'entry_differs_from_its_transaction' END,
                   CASE WHEN step.effective_at <> header.effective_at
                        THEN 'entry_has_another_date_than_its_transaction' END,
                   CASE WHEN step.tenant_id <> '' AND step.account_tenant_id NOT IN ('', step.tenant_id)
                        THEN 'entry_touches_another_tenant' END,
                   CASE WHEN step.entry_type NOT IN ('debit', 'credit')
                             OR step.amount_cents NOT BETWEEN 1 AND 1000000000000000
                        THEN 'entry_moves_no_proper_amount' END,
                   CASE WHEN step.account_seq <> step.seq_before + 1 THEN 'entry_numbers_have_a_gap' END,
                   CASE WHEN step.balance_after_cents <> step.cents_before
                             + CASE WHEN step.entry_type = account.normal_side THEN step.amount_cents
                                    ELSE -step.amount_cents END
                        THEN 'running_balance_is_not_the_sum' END,
                   CASE WHEN step.balance_after_cents < line.floor_cents THEN 'running_balance_is_below_its_floor' END
               ], NULL) END AS faults
          FROM step
          LEFT JOIN public.ledger_account AS account ON account.id = step.account_id
          LEFT JOIN public.ledger_account_type AS line ON line.name = account.type
          LEFT JOIN public.ledger_transaction AS header ON header.id = step.transaction_id
          LEFT JOIN public.ledger_balance AS balance
                 ON balance.account_id = step.account_id AND balance.shard = step.shard
    )
    SELECT account_id, shard, account_seq, id, faults, places
      FROM judged
     WHERE faults <> '{}' OR place = places
     ORDER BY place
"""

BALANCES: Final = """
    SELECT balance.id, account.book_id, array_remove(ARRAY[
               CASE WHEN account.id IS NULL THEN 'balance_has_no_account' END,
               CASE WHEN balance.shard NOT BETWEEN 0 AND account.shard_count - 1 THEN 'balance_is_no_shard' END,
               CASE WHEN balance.balance_cents <> COALESCE(last.balance_after_cents, 0)
                         OR balance.last_seq <> COALESCE(last.account_seq, 0)
                    THEN 'balance_is_not_the_sum_of_its_entries' END,
               CASE WHEN balance.balance_cents < line.floor_cents THEN 'balance_is_below_its_floor' END,
               CASE WHEN balance.floor_cents IS DISTINCT FROM line.floor_cents
                    THEN 'balance_has_another_floor_than_the_chart' END
           ], NULL)
      FROM (SELECT * FROM public.ledger_balance WHERE id > %(id)s ORDER BY id LIMIT %(page)s) AS balance
      LEFT JOIN public.ledger_account AS account ON account.id = balance.account_id
      LEFT JOIN public.ledger_account_type AS line ON line.name = account.type
      LEFT JOIN LATERAL (
            SELECT entry.account_seq, entry.balance_after_cents
              FROM public.ledger_entry AS entry
             WHERE entry.account_id = balance.account_id AND entry.shard = balance.shard
             ORDER BY entry.account_id DESC, entry.shard DESC, entry.account_seq DESC
             LIMIT 1) AS last ON true
     ORDER BY balance.id
"""

ACCOUNTS: Final = """
    SELECT account.id, account.book_id, array_remove(ARRAY[
               CASE WHEN book.code IS NULL THEN 'account_has_no_book' END,
               CASE WHEN line.name IS NULL
                         OR (line.code, line.normal_side, line.scope)
                            <> (account.code, account.normal_side, account.scope)
                    THEN 'account_differs_from_the_chart' END,
               CASE WHEN (account.tenant_id <> '') <> (account.scope = 'tenant')
                         OR (account.channel <> '') <> (account.scope = 'channel')
                    THEN 'account_is_out_of_its_scope' END,
               CASE WHEN account.currency !~ '^[A-Z]{3}$' THEN 'account_has_no_currency' END,
               CASE WHEN (SELECT count(*) FROM public.ledger_balance AS balance WHERE balance.account_id = account.id)
                         <> account.shard_count THEN 'account_lacks_a_balance' END
           ], NULL)
      FROM (SELECT * FROM public.ledger_account WHERE id > %(id)s ORDER BY id LIMIT %(page)s) AS account
      LEFT JOIN public.ledger_book AS book ON book.code = account.book_id
      LEFT JOIN public.ledger_account_type AS line ON line.name = account.type
     ORDER BY account.id
"""

# Books and clusters as the transactions name them, not as the table of books does: none is left out. One look-up each.
CHAINS: Final = """
    WITH RECURSIVE chain AS (
        (SELECT header.book_id, header.system_identifier FROM public.ledger_transaction AS header
          ORDER BY header.book_id, header.system_identifier LIMIT 1)
        UNION ALL
        SELECT following.book_id, following.system_identifier
          FROM chain
         CROSS JOIN LATERAL (
               SELECT header.book_id, header.system_identifier FROM public.ledger_transaction AS header
                WHERE (header.book_id, header.system_identifier) > (chain.book_id, chain.system_identifier)
                ORDER BY header.book_id, header.system_identifier LIMIT 1) AS following
    )
    SELECT chain.book_id, chain.system_identifier, book.code IS NOT NULL
      FROM chain LEFT JOIN public.ledger_book AS book ON book.code = chain.book_id
     WHERE %(book)s::text IS NULL OR chain.book_id = %(book)s
"""

# The digest is that of sealing.sql.
TRANSACTIONS: Final = """
    SELECT header.id, header.written_xid::text,
           sha256(
               record_send(ROW(
                   header.id, convert_to(header.book_id, 'UTF8'), convert_to(header.idempotency_key, 'UTF8'),
                   header.fingerprint, convert_to(header.kind, 'UTF8'), convert_to(header.tenant_id, 'UTF8'),
                   convert_to(header.currency, 'UTF8'), header.occurred_at, header.effective_at,
                   header.created_at, convert_to(header.reference_type, 'UTF8'),
                   convert_to(header.reference_id, 'UTF8'), convert_to(header.description, 'UTF8'),
                   convert_to(header.metadata::text, 'UTF8'), header.entry_count, header.amount_cents,
                   header.reverses_id, header.written_xid, header.system_identifier))
               || lines.sent),
           array_remove(ARRAY[
               CASE WHEN lines.debit_cents <> lines.credit_cents OR lines.debit_cents <> header.amount_cents
                    THEN 'transaction_does_not_balance' END,
               CASE WHEN lines.line_count < 2 OR lines.line_count <> header.entry_count
                         OR lines.different_lines <> lines.line_count
                         OR lines.first_line <> 1 OR lines.last_line <> lines.line_count
                    THEN 'transaction_is_not_whole' END,
               CASE WHEN header.idempotency_key = '' OR octet_length(header.fingerprint) <> 32
                         OR header.currency !~ '^[A-Z]{3}$' OR header.effective_at < header.occurred_at
                    THEN 'transaction_is_malformed' END,
               CASE WHEN header.reverses_id IS NOT NULL
                         AND ((reversed.book_id, reversed.currency, reversed.tenant_id)
                              IS DISTINCT FROM (header.book_id, header.currency, header.tenant_id)
                              OR (SELECT array_agg(entry.moved ORDER BY entry.moved)
                                    FROM (SELECT format('%%s %%s %%s', line.account_id, line.entry_type,
                                                        line.amount_cents) AS moved
                                            FROM public.ledger_entry AS line
                                           WHERE line.transaction_id = header.id) AS entry)
                                 IS DISTINCT FROM
                                 (SELECT array_agg(entry.moved ORDER BY entry.moved)
                                    FROM (SELECT format('%%s %%s %%s', line.account_id,
                                                        CASE line.entry_type WHEN 'debit' THEN 'credit'
                                                                             ELSE 'debit' END,
                                                        line.amount_cents) AS moved
                                            FROM public.ledger_entry AS line
                                           WHERE line.transaction_id = header.reverses_id) AS entry))
                    THEN 'reversal_differs_from_what_it_reverses' END
           ], NULL)
      FROM (SELECT * FROM public.ledger_transaction AS written
             WHERE written.book_id = %(book)s
               AND written.system_identifier = %(cluster)s
               AND (written.written_xid, written.id) > (%(xid)s::text::xid8, %(id)s)
               AND (written.written_xid, written.id) <= (%(last_xid)s::text::xid8, %(last_id)s)
             ORDER BY written.written_xid, written.id
             LIMIT %(page)s) AS header
      LEFT JOIN public.ledger_transaction AS reversed ON reversed.id = header.reverses_id
     CROSS JOIN LATERAL (
           SELECT count(*) AS line_count, count(DISTINCT entry.line_no) AS different_lines,
                  min(entry.line_no) AS first_line, max(entry.line_no) AS last_line,
                  COALESCE(sum(entry.amount_cents) FILTER (WHERE entry.entry_type = 'debit'), 0) AS debit_cents,
                  COALESCE(sum(entry.amount_cents) FILTER (WHERE entry.entry_type = 'credit'), 0) AS credit_cents,
                  COALESCE(string_agg(
                      record_send(ROW(
                          entry.id, entry.line_no, convert_to(entry.book_id, 'UTF8'),
                          convert_to(entry.currency, 'UTF8'), convert_to(entry.tenant_id, 'UTF8'),
                          entry.account_id, convert_to(entry.account_tenant_id, 'UTF8'), entry.shard,
                          convert_to(entry.entry_type, 'UTF8'), entry.amount_cents, entry.account_seq,
                          entry.balance_after_cents, entry.effective_at,
                          convert_to(account.type, 'UTF8'), convert_to(account.channel, 'UTF8'))),
                      '' ORDER BY entry.line_no, entry.id), '') AS sent
             FROM public.ledger_entry AS entry
             LEFT JOIN public.ledger_account AS account ON account.id = entry.account_id
            WHERE entry.transaction_id = header.id) AS lines
     ORDER BY header.written_xid, header.id
"""

BLOCK: Final = """
    SELECT block.number, block.system_identifier, block.transaction_count, block.last_written_xid::text,
           block.last_transaction_id, block.previous_hash, block.hash, block.digests,
           sha256(record_send(ROW(
               convert_to(block.book_id, 'UTF8'), block.number, block.system_identifier, block.transaction_count,
               block.first_transaction_id, block.last_transaction_id, block.last_written_xid, block.sealed_at,
               block.previous_hash, block.digests))) = block.hash
      FROM public.ledger_block AS block
     WHERE block.book_id = %(book)s AND block.number > %(number)s
     ORDER BY block.number
     LIMIT 1
"""

BLOCKED_BOOKS: Final = """
    SELECT DISTINCT book_id FROM public.ledger_block WHERE %(book)s::text IS NULL OR book_id = %(book)s
"""

PERIODS: Final = """
    SELECT period.id, period.book_id, period.starts_at, period.ends_at, before.id
      FROM public.ledger_period AS period
      LEFT JOIN public.ledger_period AS before
             ON before.book_id = period.book_id AND before.ends_at = period.starts_at AND before.state = 'closed'
     WHERE period.state = 'closed' AND (%(book)s::text IS NULL OR period.book_id = %(book)s)
     ORDER BY period.book_id, period.ends_at
"""

# What an account held at the end is what it held at the end before, and what moved between; each entry is read once.
SNAPSHOT: Final = """
    SELECT difference.account_id
      FROM (SELECT held.account_id, held.balance_cents AS cents
              FROM public.ledger_period_balance AS held
             WHERE held.period_id = %(period)s
            UNION ALL
            SELECT held.account_id, -held.balance_cents
              FROM public.ledger_period_balance AS held
             WHERE held.period_id = %(before)s
            UNION ALL
            SELECT entry.account_id,
                   CASE WHEN entry.entry_type = account.normal_side THEN -entry.amount_cents
                        ELSE entry.amount_cents END
              FROM public.ledger_entry AS entry
              JOIN public.ledger_account AS account ON account.id = entry.account_id
             WHERE account.book_id = %(period_book)s AND entry.effective_at < %(ends_at)s
               AND (%(before)s::bigint IS NULL OR entry.effective_at >= %(starts_at)s)) AS difference
     GROUP BY difference.account_id
    HAVING sum(difference.cents) <> 0
     ORDER BY difference.account_id
     LIMIT 1
"""

CHART: Final = """
    SELECT code, name, category, normal_side, scope, floor_cents, shard_count FROM public.ledger_account_type
"""

# Books whose debits and credits differ, or, which is the same, whose balances do not cancel out.
UNBALANCED_BOOKS: Final = """
    SELECT account.book_id, account.currency
      FROM public.ledger_account AS account
      JOIN public.ledger_balance AS balance ON balance.account_id = account.id
     WHERE %(book)s::text IS NULL OR account.book_id = %(book)s
     GROUP BY account.book_id, account.currency
    HAVING sum(CASE account.normal_side WHEN 'debit' THEN balance.balance_cents
                                        ELSE -balance.balance_cents END) <> 0
"""

# What stands on the ledger's tables and holds: triggers that fire for every session, constraints that were checked and
# whose own triggers are on, unique indexes that are valid. NOT NULL has names on some versions only, and is left out.
PROTECTIONS: Final = """
    SELECT 'trigger ' || tgname FROM pg_trigger
     WHERE NOT tgisinternal AND tgenabled = 'A' AND tgrelid = ANY (%(tables)s::text[]::regclass[])
    UNION ALL
    SELECT 'constraint ' || conname FROM pg_constraint AS standing
     WHERE convalidated AND contype <> 'n' AND conrelid = ANY (%(tables)s::text[]::regclass[])
       AND NOT EXISTS (
           SELECT FROM pg_trigger WHERE tgconstraint = standing.oid AND tgisinternal AND tgenabled = 'D')
    UNION ALL
    SELECT 'index ' || relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
     WHERE indisvalid AND indisunique AND indrelid = ANY (%(tables)s::text[]::regclass[])
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u'))
"""

# Asked only where the unique index is gone.
REPEATED: Final = {
    "ledger_fact_posted_once": """
        SELECT max(id) FROM public.ledger_transaction GROUP BY book_id, idempotency_key HAVING count(*) > 1
         ORDER BY 1 LIMIT 1""",
    "ledger_transaction_reversed_once": """
        SELECT max(id) FROM public.ledger_transaction WHERE reverses_id IS NOT NULL
         GROUP BY reverses_id HAVING count(*) > 1 ORDER BY 1 LIMIT 1""",
}
