ALTER TABLE public.ledger_entry
    DROP CONSTRAINT ledger_entry_matches_its_account,
    DROP CONSTRAINT ledger_entry_matches_its_transaction;

ALTER TABLE public.ledger_transaction
    DROP CONSTRAINT ledger_reversal_matches_what_it_reverses,
    DROP CONSTRAINT ledger_transaction_currency_is_a_code,
    DROP CONSTRAINT ledger_fingerprint_is_sha256;

ALTER TABLE public.ledger_account
    DROP CONSTRAINT ledger_account_follows_the_chart;

ALTER TABLE public.ledger_balance RESET (fillfactor);
