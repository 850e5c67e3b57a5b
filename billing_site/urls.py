"""Where each address leads. Apps are named, not imported."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView

from billing_site.kernel import health, metrics, problems

urlpatterns = [
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("metrics", metrics.scrape),
    path("v1/schema", SpectacularJSONAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("v1/", include("ledger.urls")),
    path("v1/", include("metering.urls")),
    path("v1/", include("invoicing.urls")),
    path("v1/", include("marketplaces.urls")),
    path("v1/", include("payments.urls")),
    path("webhooks/", include("payments.webhook_urls")),
    path("admin/", admin.site.urls),
]

handler400 = problems.bad_request
handler403 = problems.permission_denied
handler404 = problems.page_not_found
handler500 = problems.server_error
