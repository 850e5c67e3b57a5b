-- The chart of accounts, and the first book.

INSERT INTO public.ledger_account_type (code, name, category, normal_side, scope, floor_cents, shard_count)
VALUES
    ('1000', 'cash', 'asset', 'debit', 'book', NULL, 1),
    ('1010', 'processor_clearing', 'asset', 'debit', 'channel', NULL, 8),
    ('1020', 'marketplace_receivable', 'asset', 'debit', 'channel', NULL, 8),
    ('1100', 'accounts_receivable', 'asset', 'debit', 'tenant', NULL, 1),
    ('1110', 'unbilled_receivable', 'asset', 'debit', 'tenant', NULL, 1),
    ('1200', 'disputes_held', 'asset', 'debit', 'book', NULL, 1),
    ('2000', 'tax_payable', 'liability', 'credit', 'book', NULL, 8),
    ('2100', 'deferred_revenue', 'liability', 'credit', 'tenant', NULL, 1),
    ('2200', 'prepaid_credit', 'liability', 'credit', 'tenant', 0, 1),
    ('2210', 'customer_credit', 'liability', 'credit', 'tenant', 0, 1),
    ('2300', 'unapplied_receipts', 'liability', 'credit', 'book', NULL, 1),
    ('2400', 'refunds_pending', 'liability', 'credit', 'book', NULL, 1),
    ('4000', 'usage_revenue', 'revenue', 'credit', 'book', NULL, 8),
    ('4010', 'subscription_revenue', 'revenue', 'credit', 'book', NULL, 8),
    ('4020', 'breakage', 'revenue', 'credit', 'book', NULL, 1),
    ('4900', 'discounts', 'revenue', 'debit', 'book', NULL, 8),
    ('4910', 'credit_notes', 'revenue', 'debit', 'book', NULL, 1),
    ('5000', 'processor_fees', 'expense', 'debit', 'book', NULL, 8),
    ('5010', 'marketplace_fees', 'expense', 'debit', 'book', NULL, 1),
    ('5100', 'bad_debt', 'expense', 'debit', 'book', NULL, 1),
    ('5200', 'dispute_losses', 'expense', 'debit', 'book', NULL, 1);

INSERT INTO public.ledger_book (code, name) VALUES ('main', 'Main');
