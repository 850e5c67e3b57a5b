-- A finalized invoice is a document: its money, lines and number never change. What may change is its status along its
-- lifecycle, what is paid, credited and still due, and metadata.

CREATE FUNCTION public.invoicing_guard_invoice() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lines_total numeric;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'TRUNCATE of invoices: numbered invoices do not go'
            USING ERRCODE = '23514', CONSTRAINT = 'invoicing_numbered_invoice_is_not_deleted', TABLE = TG_TABLE_NAME;
    END IF;

    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'draft' THEN
            RAISE EXCEPTION 'invoice % begins as %; every invoice begins as a draft', NEW.id, NEW.status
                USING ERRCODE = '23514', CONSTRAINT = 'invoicing_invoice_begins_as_draft', TABLE = TG_TABLE_NAME;
        END IF;
        RETURN NEW;
    END IF;

    IF TG_OP = 'DELETE' THEN
        IF OLD.status <> 'draft' THEN
            RAISE EXCEPTION 'invoice % is numbered %; it may be voided, not deleted', OLD.id, OLD.number
                USING ERRCODE = '23514', CONSTRAINT = 'invoicing_numbered_invoice_is_not_deleted', TABLE = TG_TABLE_NAME;
        END IF;
        RETURN OLD;
    END IF;

    IF NEW.id <> OLD.id OR NEW.tenant_id <> OLD.tenant_id THEN
        RAISE EXCEPTION 'invoice %: id and tenant do not change', OLD.id
            USING ERRCODE = '23514', CONSTRAINT = 'invoicing_invoice_keeps_its_identity', TABLE = TG_TABLE_NAME;
    END IF;

    IF OLD.status = 'draft' THEN
        IF NEW.status = 'draft' THEN
            RETURN NEW;
        END IF;
        -- This is finalization: what is frozen from here on must be the sum of its lines.
        SELECT coalesce(sum(line.amount_cents), 0) INTO lines_total
          FROM public.invoicing_line_item AS line WHERE line.invoice_id = NEW.id;
        IF lines_total <> NEW.subtotal_cents THEN
            RAISE EXCEPTION 'invoice %: its lines add up to %, its subtotal is %', NEW.id, lines_total, NEW.subtotal_cents
                USING ERRCODE = '23514', CONSTRAINT = 'invoicing_invoice_is_the_sum_of_its_lines', TABLE = TG_TABLE_NAME;
        END IF;
    ELSIF (NEW.book, NEW.number, NEW.subscription_id, NEW.currency, NEW.boundary_at, NEW.revision,
           NEW.period_start, NEW.period_end, NEW.finalizes_at, NEW.finalized_at, NEW.due_at,
           NEW.subtotal_cents, NEW.discount_cents, NEW.tax_cents, NEW.total_cents,
           NEW.discounts, NEW.taxes, NEW.created_at)
       IS DISTINCT FROM
          (OLD.book, OLD.number, OLD.subscription_id, OLD.currency, OLD.boundary_at, OLD.revision,
           OLD.period_start, OLD.period_end, OLD.finalizes_at, OLD.finalized_at, OLD.due_at,
           OLD.subtotal_cents, OLD.discount_cents, OLD.tax_cents, OLD.total_cents,
           OLD.discounts, OLD.taxes, OLD.created_at) THEN
        RAISE EXCEPTION 'invoice % is finalized; a correction is a credit note', OLD.number
            USING ERRCODE = '23514', CONSTRAINT = 'invoicing_finalized_invoice_is_frozen', TABLE = TG_TABLE_NAME;
    END IF;

    IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
        ('draft', 'open'), ('draft', 'paid'), ('open', 'paid'), ('open', 'uncollectible'), ('open', 'void'),
        ('uncollectible', 'paid'), ('paid', 'open')
    ) THEN
        RAISE EXCEPTION 'invoice % cannot go from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = '23514', CONSTRAINT = 'invoicing_invoice_follows_its_lifecycle', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER invoicing_invoice_is_guarded
    BEFORE INSERT OR UPDATE OR DELETE ON public.invoicing_invoice
    FOR EACH ROW EXECUTE FUNCTION public.invoicing_guard_invoice();
CREATE TRIGGER invoicing_invoice_is_not_emptied
    BEFORE TRUNCATE ON public.invoicing_invoice
    FOR EACH STATEMENT EXECUTE FUNCTION public.invoicing_guard_invoice();

-- Lines belong to drafts. The invoice is locked first (FOR SHARE waits for a finalization that is under way) and looked
-- at in a second statement, which sees what that finalization committed; one lock and one look for all lines of a
-- statement.
CREATE FUNCTION public.invoicing_refuse_finalized_lines() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    touched text[];
    finalized text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT invoice_id) INTO touched FROM new_lines;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT invoice_id) INTO touched FROM old_lines;
    ELSE
        SELECT array_agg(DISTINCT invoice_id) INTO touched
          FROM (SELECT invoice_id FROM old_lines UNION ALL SELECT invoice_id FROM new_lines) AS lines;
    END IF;
    PERFORM FROM public.invoicing_invoice WHERE id = ANY (touched) ORDER BY id FOR SHARE;
    SELECT id INTO finalized FROM public.invoicing_invoice WHERE id = ANY (touched) AND status <> 'draft' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% of a line of invoice %, which is finalized', TG_OP, finalized
            USING ERRCODE = '23514', CONSTRAINT = 'invoicing_finalized_invoice_keeps_its_lines', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.invoicing_refuse_emptying_lines() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE of lines: those of finalized invoices do not go'
        USING ERRCODE = '23514', CONSTRAINT = 'invoicing_finalized_invoice_keeps_its_lines', TABLE = TG_TABLE_NAME;
END
$$;

CREATE TRIGGER invoicing_line_item_is_inserted_into_drafts
    AFTER INSERT ON public.invoicing_line_item REFERENCING NEW TABLE AS new_lines
    FOR EACH STATEMENT EXECUTE FUNCTION public.invoicing_refuse_finalized_lines();
CREATE TRIGGER invoicing_line_item_is_updated_in_drafts
    AFTER UPDATE ON public.invoicing_line_item REFERENCING OLD TABLE AS old_lines NEW TABLE AS new_lines
    FOR EACH STATEMENT EXECUTE FUNCTION public.invoicing_refuse_finalized_lines();
CREATE TRIGGER invoicing_line_item_is_deleted_from_drafts
    AFTER DELETE ON public.invoicing_line_item REFERENCING OLD TABLE AS old_lines
    FOR EACH STATEMENT EXECUTE FUNCTION public.invoicing_refuse_finalized_lines();
CREATE TRIGGER invoicing_line_item_is_not_emptied
    BEFORE TRUNCATE ON public.invoicing_line_item
    FOR EACH STATEMENT EXECUTE FUNCTION public.invoicing_refuse_emptying_lines();

-- A gapless series only goes forward.
CREATE FUNCTION public.invoicing_guard_number_series() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.book, NEW.year, NEW.kind) = (OLD.book, OLD.year, OLD.kind)
       AND NEW.last_number > OLD.last_number THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% of a number series: it only goes forward', TG_OP
        USING ERRCODE = '23514', CONSTRAINT = 'invoicing_number_series_goes_forward', TABLE = TG_TABLE_NAME;
END
$$;

CREATE TRIGGER invoicing_number_series_goes_forward
    BEFORE UPDATE OR DELETE ON public.invoicing_number_series
    FOR EACH ROW EXECUTE FUNCTION public.invoicing_guard_number_series();
CREATE TRIGGER invoicing_number_series_is_not_emptied
    BEFORE TRUNCATE ON public.invoicing_number_series
    FOR EACH STATEMENT EXECUTE FUNCTION public.invoicing_guard_number_series();

ALTER TABLE public.invoicing_invoice ENABLE ALWAYS TRIGGER invoicing_invoice_is_guarded;
ALTER TABLE public.invoicing_invoice ENABLE ALWAYS TRIGGER invoicing_invoice_is_not_emptied;
ALTER TABLE public.invoicing_line_item ENABLE ALWAYS TRIGGER invoicing_line_item_is_inserted_into_drafts;
ALTER TABLE public.invoicing_line_item ENABLE ALWAYS TRIGGER invoicing_line_item_is_updated_in_drafts;
ALTER TABLE public.invoicing_line_item ENABLE ALWAYS TRIGGER invoicing_line_item_is_deleted_from_drafts;
ALTER TABLE public.invoicing_line_item ENABLE ALWAYS TRIGGER invoicing_line_item_is_not_emptied;
ALTER TABLE public.invoicing_number_series ENABLE ALWAYS TRIGGER invoicing_number_series_goes_forward;
ALTER TABLE public.invoicing_number_series ENABLE ALWAYS TRIGGER invoicing_number_series_is_not_emptied;
