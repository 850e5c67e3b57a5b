-- What Django's models cannot say of the tables: composite foreign keys, lengths of bytes, storage.

-- An account has the sides and the scope of its line of the chart, and no others.
ALTER TABLE public.ledger_account
    ADD CONSTRAINT ledger_account_follows_the_chart
    FOREIGN KEY (type, code, normal_side, scope)
    REFERENCES public.ledger_account_type (name, code, normal_side, scope);

ALTER TABLE public.ledger_transaction
    ADD CONSTRAINT ledger_fingerprint_is_sha256 CHECK (octet_length(fingerprint) = 32),
    ADD CONSTRAINT ledger_transaction_currency_is_a_code CHECK (currency ~ '^[A-Z]{3}$'),
    ADD CONSTRAINT ledger_reversal_matches_what_it_reverses
    FOREIGN KEY (reverses_id, book_id, currency, tenant_id)
    REFERENCES public.ledger_transaction (id, book_id, currency, tenant_id);

-- Book, currency and tenant match because the keys carry them: no trigger to forget, none to switch off.
-- The book of a transaction needs no key of its own: it has entries, whose accounts are of the same book, which exists.
ALTER TABLE public.ledger_entry
    ADD CONSTRAINT ledger_entry_matches_its_transaction
    FOREIGN KEY (transaction_id, book_id, currency, tenant_id)
    REFERENCES public.ledger_transaction (id, book_id, currency, tenant_id),
    ADD CONSTRAINT ledger_entry_matches_its_account
    FOREIGN KEY (account_id, book_id, currency, account_tenant_id)
    REFERENCES public.ledger_account (id, book_id, currency, tenant_id);

-- A balance is updated in place at each posting. Half-empty pages keep the new version beside the old one (HOT), and
-- no index holds the balance, so that none has to be written.
ALTER TABLE public.ledger_balance SET (fillfactor = 50);
