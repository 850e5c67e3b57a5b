"""Metering under /v1."""

from django.urls import path

from metering.views import dead_letters, events, usage

urlpatterns = [
    path("events", events.events),
    path("usage", usage.UsageEndpoint.as_view()),
    path("dead-letters", dead_letters.DeadLetterListEndpoint.as_view()),
    path("dead-letters/<str:letter_id>", dead_letters.DeadLetterEndpoint.as_view()),
]
