"""``/healthz``: the process is up. ``/readyz``: it can work, that is, database and broker answer."""

from typing import Final

import redis
from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

_TIMEOUT_SECONDS: Final = 2


@never_cache
@require_safe
def alive(request: HttpRequest) -> HttpResponse:
    """200 whenever this process can answer at all."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """200 with each part ``ok``, else 503 with what is wrong."""
    parts = {"database": _database(), "broker": _broker()}
    ok = all(state == "ok" for state in parts.values())
    return JsonResponse({"status": "ok" if ok else "unavailable", **parts}, status=200 if ok else 503)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        return type(error).__name__
    return "ok"


def _broker() -> str:
    client = redis.Redis.from_url(
        settings.CELERY_BROKER_URL,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
    )
    try:
        client.ping()
    except redis.RedisError as error:
        return type(error).__name__
    finally:
        client.close()
    return "ok"
