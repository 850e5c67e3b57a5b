-- Plans, their versions and prices are for ever; who is billed, in which currency and in which book, too.

CREATE FUNCTION public.invoicing_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on %: what was sold is never edited, a new version is made', TG_OP, TG_TABLE_NAME
        USING ERRCODE = '23514', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END
$$;

CREATE TRIGGER invoicing_plan_is_for_ever
    BEFORE UPDATE OR DELETE ON public.invoicing_plan
    FOR EACH ROW EXECUTE FUNCTION public.invoicing_refuse_change();
CREATE TRIGGER invoicing_plan_is_not_emptied
    BEFORE TRUNCATE ON public.invoicing_plan
    FOR EACH STATEMENT EXECUTE FUNCTION public.invoicing_refuse_change();
CREATE TRIGGER invoicing_plan_version_is_immutable
    BEFORE UPDATE OR DELETE ON public.invoicing_plan_version
    FOR EACH ROW EXECUTE FUNCTION public.invoicing_refuse_change();
CREATE TRIGGER invoicing_plan_version_is_not_emptied
    BEFORE TRUNCATE ON public.invoicing_plan_version
    FOR EACH STATEMENT EXECUTE FUNCTION public.invoicing_refuse_change();
CREATE TRIGGER invoicing_price_is_immutable
    BEFORE UPDATE OR DELETE ON public.invoicing_price
    FOR EACH ROW EXECUTE FUNCTION public.invoicing_refuse_change();
CREATE TRIGGER invoicing_price_is_not_emptied
    BEFORE TRUNCATE ON public.invoicing_price
    FOR EACH STATEMENT EXECUTE FUNCTION public.invoicing_refuse_change();

-- A price added to a version later would change what subscribers agreed to. A version says how many prices it has, its
-- prices stand in distinct places (UNIQUE), so a version that is complete takes no more.
CREATE FUNCTION public.invoicing_refuse_surplus_price() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    promised integer;
BEGIN
    SELECT price_count INTO promised FROM public.invoicing_plan_version WHERE id = NEW.plan_version_id;
    IF NEW.position >= promised THEN
        RAISE EXCEPTION 'plan version % has % prices; place % is none of them',
            NEW.plan_version_id, promised, NEW.position
            USING ERRCODE = '23514', CONSTRAINT = 'invoicing_plan_version_gains_no_price', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER invoicing_plan_version_gains_no_price
    BEFORE INSERT ON public.invoicing_price
    FOR EACH ROW EXECUTE FUNCTION public.invoicing_refuse_surplus_price();

CREATE FUNCTION public.invoicing_keep_tenant_identity() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'tenant %: code, currency and book do not change', OLD.id
        USING ERRCODE = '23514', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END
$$;

CREATE TRIGGER invoicing_tenant_keeps_code_currency_and_book
    BEFORE UPDATE ON public.invoicing_tenant
    FOR EACH ROW WHEN ((OLD.id, OLD.currency, OLD.book) IS DISTINCT FROM (NEW.id, NEW.currency, NEW.book))
    EXECUTE FUNCTION public.invoicing_keep_tenant_identity();

ALTER TABLE public.invoicing_plan ENABLE ALWAYS TRIGGER invoicing_plan_is_for_ever;
ALTER TABLE public.invoicing_plan ENABLE ALWAYS TRIGGER invoicing_plan_is_not_emptied;
ALTER TABLE public.invoicing_plan_version ENABLE ALWAYS TRIGGER invoicing_plan_version_is_immutable;
ALTER TABLE public.invoicing_plan_version ENABLE ALWAYS TRIGGER invoicing_plan_version_is_not_emptied;
ALTER TABLE public.invoicing_price ENABLE ALWAYS TRIGGER invoicing_price_is_immutable;
ALTER TABLE public.invoicing_price ENABLE ALWAYS TRIGGER invoicing_price_is_not_emptied;
ALTER TABLE public.invoicing_price ENABLE ALWAYS TRIGGER invoicing_plan_version_gains_no_price;
ALTER TABLE public.invoicing_tenant ENABLE ALWAYS TRIGGER invoicing_tenant_keeps_code_currency_and_book;

-- One subscription, one currency: the tenant's, the plan's and the invoices'.
ALTER TABLE public.invoicing_subscription
    ADD CONSTRAINT invoicing_subscription_is_in_its_tenants_currency
        FOREIGN KEY (tenant_id, currency) REFERENCES public.invoicing_tenant (id, currency),
    ADD CONSTRAINT invoicing_subscription_is_in_its_plans_currency
        FOREIGN KEY (plan_version_id, currency) REFERENCES public.invoicing_plan_version (id, currency);
ALTER TABLE public.invoicing_invoice
    ADD CONSTRAINT invoicing_invoice_is_in_its_tenants_currency
        FOREIGN KEY (tenant_id, currency) REFERENCES public.invoicing_tenant (id, currency),
    ADD CONSTRAINT invoicing_invoice_is_of_its_subscriptions_tenant
        FOREIGN KEY (subscription_id, tenant_id) REFERENCES public.invoicing_subscription (id, tenant_id);
