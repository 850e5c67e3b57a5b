-- Sealing: settled transactions are hashed into blocks, each chained to the one before, so that a later edit shows.

-- A block names the number and the hash of the one before, which is there: no number is left out, no hash made up.
-- The first has none before it, and 32 zero bytes in place of a hash.
ALTER TABLE public.ledger_block
    ADD COLUMN previous_number integer GENERATED ALWAYS AS (NULLIF(number - 1, 0)) STORED,
    ADD CONSTRAINT ledger_block_has_sha256_hashes
    CHECK (octet_length(hash) = 32 AND octet_length(previous_hash) = 32),
    ADD CONSTRAINT ledger_block_has_a_digest_for_each
    CHECK (octet_length(digests) = 32 * transaction_count),
    ADD CONSTRAINT ledger_block_follows_the_one_before
    FOREIGN KEY (book_id, previous_number, previous_hash)
    REFERENCES public.ledger_block (book_id, number, hash);

-- Hashes do not compress.
ALTER TABLE public.ledger_block ALTER COLUMN digests SET STORAGE EXTERNAL;

CREATE TRIGGER ledger_block_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON public.ledger_block
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_refuse_change();

ALTER TABLE public.ledger_block ENABLE ALWAYS TRIGGER ledger_block_is_append_only;

-- Seals the next block of a book: at most 10,000 settled transactions, in the order of their writers. Answers what it
-- sealed, or nothing where nothing is settled or someone else is sealing this book.
--
-- A transaction of this cluster is settled once its writer is older than every running one. All writers below that
-- number have ended, so that no transaction can appear below it later, whatever its id. A cluster that a dump came from
-- has no running writers here.
--
-- What is hashed: record_send is a count of columns, then each as type, length and bytes, so that no two different rows
-- are written alike. ledger/verification.py reads the same columns in the same order.
CREATE FUNCTION public.ledger_seal_next_block(p_book text)
RETURNS TABLE (sealed_number integer, sealed_count integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    here bigint := public.ledger_system_identifier();
    writers_cluster bigint;
    block public.ledger_block;
    sealed_xid xid8;
    sealed_id bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('ledger_block of ' || p_book, 0)) THEN
        RETURN;
    END IF;
    block.book_id := p_book;
    SELECT last.number + 1, last.hash INTO block.number, block.previous_hash
      FROM public.ledger_block AS last
     WHERE last.book_id = p_book
     ORDER BY last.number DESC
     LIMIT 1;
    IF NOT FOUND THEN
        block.number := 1;
        block.previous_hash := decode(repeat('00', 32), 'hex');
    END IF;

    -- The clusters in which this book was written, by one look-up for each.
    FOR writers_cluster IN
        WITH RECURSIVE cluster AS (
            (SELECT header.system_identifier FROM public.ledger_transaction AS header
              WHERE header.book_id = p_book ORDER BY header.system_identifier LIMIT 1)
            UNION ALL
            SELECT (SELECT header.system_identifier FROM public.ledger_transaction AS header
                     WHERE header.book_id = p_book AND header.system_identifier > cluster.system_identifier
                     ORDER BY header.system_identifier LIMIT 1)
              FROM cluster WHERE cluster.system_identifier IS NOT NULL
        )
        SELECT cluster.system_identifier FROM cluster WHERE cluster.system_identifier IS NOT NULL
    LOOP
        SELECT last.last_written_xid, last.last_transaction_id INTO sealed_xid, sealed_id
          FROM public.ledger_block AS last
         WHERE last.book_id = p_book AND last.system_identifier = writers_cluster
         ORDER BY last.number DESC
         LIMIT 1;
        IF NOT FOUND THEN
            sealed_xid := '0';
            sealed_id := 0;
        END IF;

        WITH settled AS MATERIALIZED (
            SELECT header.*
              FROM public.ledger_transaction AS header
             WHERE header.book_id = p_book
               AND header.system_identifier = writers_cluster
               AND (header.written_xid, header.id) > (sealed_xid, sealed_id)
               AND (writers_cluster <> here OR header.written_xid < pg_snapshot_xmin(pg_current_snapshot()))
             ORDER BY header.written_xid, header.id
             LIMIT 10000
        ), digested AS (
            SELECT header.written_xid, header.id,
                   sha256(
                       record_send(ROW(
                           header.id, convert_to(header.book_id, 'UTF8'), convert_to(header.idempotency_key, 'UTF8'),
                           header.fingerprint, convert_to(header.kind, 'UTF8'), convert_to(header.tenant_id, 'UTF8'),
                           convert_to(header.currency, 'UTF8'), header.occurred_at, header.effective_at,
                           header.created_at, convert_to(header.reference_type, 'UTF8'),
                           convert_to(header.reference_id, 'UTF8'), convert_to(header.description, 'UTF8'),
                           convert_to(header.metadata::text, 'UTF8'), header.entry_count, header.amount_cents,
                           header.reverses_id, header.written_xid, header.system_identifier))
                       || lines.sent) AS digest
              FROM settled AS header
             CROSS JOIN LATERAL (
                   SELECT COALESCE(string_agg(
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
        )
        SELECT count(*),
               (array_agg(digested.id ORDER BY digested.written_xid, digested.id))[1],
               (array_agg(digested.id ORDER BY digested.written_xid DESC, digested.id DESC))[1],
               (array_agg(digested.written_xid ORDER BY digested.written_xid DESC))[1],
               string_agg(digested.digest, '' ORDER BY digested.written_xid, digested.id)
          INTO block.transaction_count, block.first_transaction_id, block.last_transaction_id,
               block.last_written_xid, block.digests
          FROM digested;
        IF block.transaction_count = 0 THEN
            CONTINUE;
        END IF;

        block.system_identifier := writers_cluster;
        block.sealed_at := statement_timestamp();
        block.hash := sha256(
            record_send(ROW(
                convert_to(block.book_id, 'UTF8'), block.number, block.system_identifier, block.transaction_count,
                block.first_transaction_id, block.last_transaction_id, block.last_written_xid, block.sealed_at,
                block.previous_hash, block.digests)));
        INSERT INTO public.ledger_block
            (book_id, number, system_identifier, transaction_count, first_transaction_id, last_transaction_id,
             last_written_xid, sealed_at, previous_hash, digests, hash)
        VALUES (block.book_id, block.number, block.system_identifier, block.transaction_count,
                block.first_transaction_id, block.last_transaction_id, block.last_written_xid, block.sealed_at,
                block.previous_hash, block.digests, block.hash);
        RETURN QUERY SELECT block.number, block.transaction_count;
        RETURN;
    END LOOP;
END;
$$;

REVOKE ALL ON FUNCTION public.ledger_seal_next_block(text) FROM PUBLIC;
