-- A book with accounts can't be unmade: the foreign key of its accounts refuses.
DELETE FROM public.ledger_book WHERE code = 'main';
DELETE FROM public.ledger_account_type;

-- The keys of accounts to books are checked late. Checked now, nothing is pending when the tables are dropped.
SET CONSTRAINTS ALL IMMEDIATE;
