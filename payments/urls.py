"""Payments under /v1."""

from django.urls import path

from payments import views

urlpatterns = [
    path("payments", views.PaymentsEndpoint.as_view()),
    path("payment-methods", views.PaymentMethodsEndpoint.as_view()),
    path("invoices/<str:invoice_id>/pay", views.PayInvoiceEndpoint.as_view()),
]
