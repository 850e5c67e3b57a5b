"""
Invoicing: tenants, plans and their prices, subscriptions, rating, drafts, finalized invoices.

Asks ``metering`` for the usage of a period and tells ``ledger`` what was invoiced. Knows nothing of channels and
payments: ``settlement`` is the door through which a payment reaches an invoice.

Doors: ``tenants``, ``catalog``, ``subscriptions`` (what is sold to whom), ``drafting`` and ``finalization`` (from usage
to an invoice in the books), ``settlement`` (money against an invoice), ``pricing.rating`` (a quantity's price).
"""
