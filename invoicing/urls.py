"""Where invoicing's endpoints are, under ``/v1/``."""

from django.urls import path

from invoicing import views

urlpatterns = [
    path("tenants", views.TenantsEndpoint.as_view()),
    path("tenants/<str:tenant_id>", views.TenantEndpoint.as_view()),
    path("tenants/<str:tenant_id>/balance", views.BalanceEndpoint.as_view()),
    path("plans", views.PlansEndpoint.as_view()),
    path("plans/<str:code>", views.PlanEndpoint.as_view()),
    path("plans/<str:code>/versions", views.PlanVersionsEndpoint.as_view()),
    path("subscriptions", views.SubscriptionsEndpoint.as_view()),
    path("subscriptions/<str:subscription_id>", views.SubscriptionEndpoint.as_view()),
    path("invoices", views.InvoicesEndpoint.as_view()),
    path("invoices/<str:invoice_id>", views.InvoiceEndpoint.as_view()),
    path("invoices/<str:invoice_id>/finalize", views.FinalizeInvoiceEndpoint.as_view()),
    path("invoices/<str:invoice_id>/recognition", views.InvoiceRecognitionEndpoint.as_view()),
    path("invoices/<str:invoice_id>/late-usage", views.LateUsageEndpoint.as_view()),
    path("usage/current", views.CurrentUsageEndpoint.as_view()),
    path("pricing/quote", views.QuoteEndpoint.as_view()),
]
