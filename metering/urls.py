"""Metering under /v1."""

from django.urls import path

from metering.views import anomalies, dead_letters, events, meters, requests, thresholds, usage

urlpatterns = [
    path("events", events.events),
    path("events/requests", requests.ingest_requests),
    path("meters", meters.MeterListEndpoint.as_view()),
    path("meters/<str:code>", meters.MeterEndpoint.as_view()),
    path("usage", usage.UsageEndpoint.as_view()),
    path("usage/top", requests.TopEndpoint.as_view()),
    path("usage/error-rate", requests.ErrorRateEndpoint.as_view()),
    path("dead-letters", dead_letters.DeadLetterListEndpoint.as_view()),
    path("dead-letters/<str:letter_id>", dead_letters.DeadLetterEndpoint.as_view()),
    path("dead-letters/<str:letter_id>/replay", dead_letters.DeadLetterReplayEndpoint.as_view()),
    path("dead-letters/<str:letter_id>/discard", dead_letters.DeadLetterDiscardEndpoint.as_view()),
    path("usage/anomalies", anomalies.AnomalyListEndpoint.as_view()),
    path("usage-thresholds", thresholds.ThresholdListEndpoint.as_view()),
    path("usage-thresholds/<str:threshold_id>", thresholds.ThresholdEndpoint.as_view()),
    path("usage-thresholds/<str:threshold_id>/deactivate", thresholds.DeactivateThresholdEndpoint.as_view()),
    path("usage-thresholds/<str:threshold_id>/firings", thresholds.ThresholdFiringListEndpoint.as_view()),
]
