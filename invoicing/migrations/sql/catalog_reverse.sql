ALTER TABLE public.invoicing_invoice
    DROP CONSTRAINT invoicing_invoice_is_in_its_tenants_currency,
    DROP CONSTRAINT invoicing_invoice_is_of_its_subscriptions_tenant;
ALTER TABLE public.invoicing_subscription
    DROP CONSTRAINT invoicing_subscription_is_in_its_tenants_currency,
    DROP CONSTRAINT invoicing_subscription_is_in_its_plans_currency;
DROP TRIGGER invoicing_tenant_keeps_code_currency_and_book ON public.invoicing_tenant;
DROP TRIGGER invoicing_plan_version_gains_no_price ON public.invoicing_price;
DROP TRIGGER invoicing_price_is_not_emptied ON public.invoicing_price;
DROP TRIGGER invoicing_price_is_immutable ON public.invoicing_price;
DROP TRIGGER invoicing_plan_version_is_not_emptied ON public.invoicing_plan_version;
DROP TRIGGER invoicing_plan_version_is_immutable ON public.invoicing_plan_version;
DROP TRIGGER invoicing_plan_is_not_emptied ON public.invoicing_plan;
DROP TRIGGER invoicing_plan_is_for_ever ON public.invoicing_plan;
DROP FUNCTION public.invoicing_keep_tenant_identity();
DROP FUNCTION public.invoicing_refuse_surplus_price();
DROP FUNCTION public.invoicing_refuse_change();
