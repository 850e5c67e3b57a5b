"""Metering under /v1."""

from django.urls import path

from metering import views

urlpatterns = [
    path("events", views.events),
    path("usage", views.UsageEndpoint.as_view()),
    path("dead-letters", views.DeadLetterListEndpoint.as_view()),
    path("dead-letters/<str:letter_id>", views.DeadLetterEndpoint.as_view()),
]
