"""
Payments: collecting what invoices ask for, and recording what was paid.

Owns saved payment methods, collections (the due row of each invoice to collect), attempts, payments and the messages
that processors send. Calls ``marketplaces`` to charge, ``invoicing.settlement`` to settle, ``ledger.posting`` to post.

Doors: ``collection`` (the sweep and "pay now"), ``recording`` (money that came, by whatever way), ``payment_methods``,
``webhooks`` (messages in). ``attempts`` holds the rule that keeps a crash from charging twice.
"""
