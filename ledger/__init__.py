"""
The ledger: double entry, append-only, integer minor units, enforced by PostgreSQL.

Owns books, accounts, balances, transactions and their entries. Of tenants, invoices and payments it knows ids alone.

Doors: ``posting`` (the only way to write), ``balances`` (what the books say), ``chart`` (the account types),
``books`` (one set of accounts per legal entity), ``sealing`` and ``verification`` (what would show that someone edited
them). ``migrations/sql`` holds the rules that no caller can evade.
"""
