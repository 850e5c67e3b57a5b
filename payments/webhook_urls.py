"""Where processors send their messages."""

from django.urls import path

from payments import views

urlpatterns = [path("stripe", views.StripeWebhookEndpoint.as_view())]
