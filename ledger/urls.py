"""The ledger's addresses, under ``/v1``."""

from django.urls import path

from ledger import views

urlpatterns = [
    path("ledger/accounts", views.AccountList.as_view()),
    path("ledger/accounts/<str:public_id>", views.AccountDetail.as_view()),
    path("ledger/balances", views.TenantBalances.as_view()),
    path("ledger/entries", views.EntryList.as_view()),
    path("ledger/export.csv", views.Export.as_view()),
    path("ledger/periods", views.PeriodList.as_view()),
    path("ledger/periods/close", views.PeriodClose.as_view()),
    path("ledger/periods/reopen", views.PeriodReopen.as_view()),
    path("ledger/transactions", views.TransactionList.as_view()),
    path("ledger/transactions/<str:public_id>", views.TransactionDetail.as_view()),
    path("ledger/transactions/<str:public_id>/reverse", views.TransactionReverse.as_view()),
    path("ledger/trial-balance", views.TrialBalance.as_view()),
]
