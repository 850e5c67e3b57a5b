-- What was earned is in the books: it is not unlearned. A schedule keeps what it says, earns only forward and never goes;
-- a book's progress only goes forward.

CREATE FUNCTION public.invoicing_guard_recognition_schedule() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION '% of recognition schedules: what was deferred does not go', TG_OP
            USING ERRCODE = '23514', CONSTRAINT = 'invoicing_recognition_schedule_is_kept', TABLE = TG_TABLE_NAME;
    END IF;
    IF (NEW.id, NEW.line_id, NEW.invoice_id, NEW.tenant_id, NEW.book, NEW.currency, NEW.time_zone,
        NEW.starts_on, NEW.ends_on, NEW.due_from_on, NEW.amount_cents, NEW.created_at)
       IS DISTINCT FROM
       (OLD.id, OLD.line_id, OLD.invoice_id, OLD.tenant_id, OLD.book, OLD.currency, OLD.time_zone,
        OLD.starts_on, OLD.ends_on, OLD.due_from_on, OLD.amount_cents, OLD.created_at) THEN
        RAISE EXCEPTION 'recognition schedule %: what was deferred does not change', OLD.id
            USING ERRCODE = '23514', CONSTRAINT = 'invoicing_recognition_schedule_is_kept', TABLE = TG_TABLE_NAME;
    END IF;
    IF abs(NEW.earned_cents) < abs(OLD.earned_cents) OR OLD.closed_on IS NOT NULL THEN
        RAISE EXCEPTION 'recognition schedule %: % of it were earned', OLD.id, OLD.earned_cents
            USING ERRCODE = '23514', CONSTRAINT = 'invoicing_recognition_goes_forward', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION public.invoicing_guard_recognition_progress() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.book, NEW.currency) = (OLD.book, OLD.currency)
       AND NEW.recognized_through_on > coalesce(OLD.recognized_through_on, '-infinity') THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% of the progress of recognition: it only goes forward', TG_OP
        USING ERRCODE = '23514', CONSTRAINT = 'invoicing_recognition_goes_forward', TABLE = TG_TABLE_NAME;
END
$$;

CREATE TRIGGER invoicing_recognition_schedule_is_guarded
    BEFORE UPDATE OR DELETE ON public.invoicing_recognition_schedule
    FOR EACH ROW EXECUTE FUNCTION public.invoicing_guard_recognition_schedule();
CREATE TRIGGER invoicing_recognition_schedule_is_not_emptied
    BEFORE TRUNCATE ON public.invoicing_recognition_schedule
    FOR EACH STATEMENT EXECUTE FUNCTION public.invoicing_guard_recognition_schedule();
CREATE TRIGGER invoicing_recognition_progress_goes_forward
    BEFORE UPDATE OR DELETE ON public.invoicing_recognition_progress
    FOR EACH ROW EXECUTE FUNCTION public.invoicing_guard_recognition_progress();
CREATE TRIGGER invoicing_recognition_progress_is_not_emptied
    BEFORE TRUNCATE ON public.invoicing_recognition_progress
    FOR EACH STATEMENT EXECUTE FUNCTION public.invoicing_guard_recognition_progress();

ALTER TABLE public.invoicing_recognition_schedule ENABLE ALWAYS TRIGGER invoicing_recognition_schedule_is_guarded;
ALTER TABLE public.invoicing_recognition_schedule ENABLE ALWAYS TRIGGER invoicing_recognition_schedule_is_not_emptied;
ALTER TABLE public.invoicing_recognition_progress ENABLE ALWAYS TRIGGER invoicing_recognition_progress_goes_forward;
ALTER TABLE public.invoicing_recognition_progress ENABLE ALWAYS TRIGGER invoicing_recognition_progress_is_not_emptied;

-- Every open row is written each day; room on its page keeps that off the index.
ALTER TABLE public.invoicing_recognition_schedule SET (fillfactor = 70);
