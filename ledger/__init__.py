"""
The ledger: double entry, append-only, integer minor units, enforced by PostgreSQL.

Owns books, accounts, balances, transactions and their entries, closed periods. Of tenants, invoices and payments it
knows ids alone.

Doors: ``posting`` (the only way to write), ``manual`` (what finance posts by hand), ``balances`` (what the books say),
``chart`` (the account types), ``books`` (one set of accounts per legal entity), ``periods`` (closing them), ``export``
(all of it as CSV), ``sealing`` and ``verification`` (what would show that someone edited them). ``migrations/sql``
holds the rules that no caller can evade.
"""
