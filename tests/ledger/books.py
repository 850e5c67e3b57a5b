"""A second opinion on the ledger: recomputes it from its entries, by other SQL than its own checks."""

from django.db import connection

_WRONG = {
    "a transaction that does not balance": """
        SELECT t.id FROM ledger_transaction t LEFT JOIN ledger_entry e ON e.transaction_id = t.id
         GROUP BY t.id
        HAVING coalesce(sum(e.amount_cents) FILTER (WHERE e.entry_type = 'debit'), 0) <> t.amount_cents
            OR coalesce(sum(e.amount_cents) FILTER (WHERE e.entry_type = 'credit'), 0) <> t.amount_cents
            OR count(e.id) <> t.entry_count""",
    "a balance that is not the sum of its entries": """
        SELECT b.id FROM ledger_balance b JOIN ledger_account a ON a.id = b.account_id
          LEFT JOIN ledger_entry e ON e.account_id = b.account_id AND e.shard = b.shard
         GROUP BY b.id, a.normal_side
        HAVING coalesce(sum(e.amount_cents * CASE WHEN e.entry_type = a.normal_side THEN 1 ELSE -1 END), 0)
               <> b.balance_cents
            OR count(e.id) <> b.last_seq
            OR coalesce(max(e.account_seq), 0) <> b.last_seq""",
    "a running balance that is not the sum up to its entry": """
        SELECT id FROM (
            SELECT e.id, e.balance_after_cents,
                   sum(e.amount_cents * CASE WHEN e.entry_type = a.normal_side THEN 1 ELSE -1 END)
                   OVER (PARTITION BY e.account_id, e.shard ORDER BY e.account_seq) AS running
              FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id) AS chain
         WHERE running <> balance_after_cents""",
    "a balance below its floor": "SELECT id FROM ledger_balance WHERE balance_cents < floor_cents",
    "an entry of another currency, book or tenant": """
        SELECT e.id FROM ledger_entry e
          JOIN ledger_account a ON a.id = e.account_id JOIN ledger_transaction t ON t.id = e.transaction_id
         WHERE a.currency <> t.currency OR a.book_id <> t.book_id
            OR (a.tenant_id <> '' AND t.tenant_id <> '' AND a.tenant_id <> t.tenant_id)""",
}


def verify() -> None:
    """Raise where the books are wrong."""
    with connection.cursor() as cursor:
        for fault, statement in _WRONG.items():
            cursor.execute(f"{statement} LIMIT 1")
            assert cursor.fetchone() is None, fault
