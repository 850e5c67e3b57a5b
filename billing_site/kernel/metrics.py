"""
``GET /metrics`` for Prometheus: counters of this service's processes, and gauges read from PostgreSQL when asked.

Counters are summed over all web processes of a host by way of files in ``PROMETHEUS_MULTIPROC_DIR``, which
``billing_site.web_server`` makes when nobody names it. Gauges are registered by whoever knows the figure; reading one
must be cheap. They are read anew for each scrape, so every process answers the same.
"""

import hmac
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import prometheus_client
from django.conf import settings
from django.db import Error, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import core, multiprocess

from billing_site.kernel import errors, keys, problems

Figures = float | Mapping[str, float]

_log = logging.getLogger(__name__)
_GAUGE_TIMEOUT_MILLISECONDS: Final = 2000

unreadable_gauges = prometheus_client.Counter(
    "billing_unreadable_gauges_total",
    "Gauges that were left out of a scrape because reading them failed.",
    ["gauge"],
)


@dataclass(frozen=True, kw_only=True)
class _Gauge:
    name: str
    help: str
    read: Callable[[], Figures]
    label: str


_gauges: Final[dict[str, _Gauge]] = {}


def register_gauge(name: str, help: str, read: Callable[[], Figures], *, label: str = "") -> None:  # noqa: A002
    """
    Show a figure at ``/metrics``.

    ``read`` is called for each scrape, in a transaction of its own with a time limit of 2 s; it answers one number, or
    with ``label`` a number per value of that label (few values: never tenants). Registering a name again replaces it.
    """
    _gauges[name] = _Gauge(name=name, help=help, read=read, label=label)


@never_cache
@require_safe
def scrape(request: HttpRequest) -> HttpResponse:
    """
    The text that Prometheus reads.

    Let in are the token of ``METRICS_TOKEN``, which needs no database, and API keys with the scope ``admin``.
    """
    try:
        _require_reader(request.headers.get("Authorization"))
    except errors.DomainError as error:
        return problems.respond(request, error)
    except Error:
        return problems.respond(request, problems.database_away())
    text = prometheus_client.generate_latest(_counters()) + prometheus_client.generate_latest(_gauges_alone())
    return HttpResponse(text, content_type=prometheus_client.CONTENT_TYPE_LATEST)


def _require_reader(authorization: str | None) -> None:
    token = f"Bearer {settings.METRICS_TOKEN}"
    if settings.METRICS_TOKEN and hmac.compare_digest((authorization or "").encode(), token.encode()):
        return
    keys.require_scope(keys.authenticate(authorization), "admin")


def _counters() -> prometheus_client.CollectorRegistry:
    """Those of all processes that share the folder, or of this process alone."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return prometheus_client.REGISTRY
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def _gauges_alone() -> prometheus_client.CollectorRegistry:
    registry = prometheus_client.CollectorRegistry()
    registry.register(_GaugeCollector())
    return registry


class _GaugeCollector:
    """Reads the registered gauges; one that cannot be read is left out and counted, and the others are shown."""

    def collect(self) -> Iterator[core.Metric]:
        """Each gauge with its figures."""
        for gauge in list(_gauges.values()):
            try:
                figures = _read(gauge)
            except Error:
                _log.exception("the gauge %s cannot be read", gauge.name)
                unreadable_gauges.labels(gauge.name).inc()
                continue
            family = core.GaugeMetricFamily(gauge.name, gauge.help, labels=[gauge.label] if gauge.label else [])
            for value, figure in figures.items() if isinstance(figures, Mapping) else [("", figures)]:
                family.add_metric([value] if gauge.label else [], float(figure))
            yield family

    def describe(self) -> Iterator[core.Metric]:
        """Nothing, so that registering reads no database."""
        return iter(())


def _read(gauge: _Gauge) -> Figures:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(_GAUGE_TIMEOUT_MILLISECONDS)])
        return gauge.read()
