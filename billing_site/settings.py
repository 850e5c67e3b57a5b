"""
Every setting, and every environment variable that the service reads.

Nothing outside this file reads the environment for configuration. A variable that is missing or malformed stops the
process at start with the variable's name.

===========================  =======================================================================================
variable                     meaning
===========================  =======================================================================================
``SECRET_KEY``               Django's signing key. Required unless ``DEBUG`` is on.
``DEBUG``                    ``true`` shows tracebacks; never in production. Default false.
``ENVIRONMENT``              ``test`` or ``live``: the middle of API keys (``bk_test_...``). Default test.
``ALLOWED_HOSTS``            Comma-separated host names that may be asked for. Default localhost,127.0.0.1.
``CSRF_TRUSTED_ORIGINS``     Comma-separated origins (scheme and host) of the admin behind a proxy. Default none.
``HTTPS``                    ``true`` behind TLS: secure cookies, HSTS, redirect. Default true, false under ``DEBUG``.
``DATABASE_URL``             PostgreSQL as the service's own role, which owns no table. Required, unless the
                             supervisor's embedded services run (``var/services.json``).
``OWNER_DATABASE_URL``       The same database as the role that owns the schema. ``migrate`` alone uses it.
                             Default: ``DATABASE_URL``.
``REDIS_URL``                Celery's broker (``maxmemory-policy noeviction``). Required as ``DATABASE_URL`` is.
``DATABASE_CONN_MAX_AGE``    Seconds a connection is kept between requests. Default 60.
``STRIPE_API_KEY``           Secret key of the Stripe account; empty: Stripe collection is off. Default empty.
``STRIPE_WEBHOOK_SECRET``    Comma-separated signing secrets of the webhook endpoint (several while one is rolled).
``STRIPE_API_BASE``          Base address of Stripe's API. Default https://api.stripe.com.
``BEAT_AGGREGATE_SECONDS``   How often beat starts aggregation. Default 60.
``BEAT_BILLING_SECONDS``     How often beat drafts, finalizes and collects. Default 300.
``BEAT_WEBHOOK_SECONDS``     How often beat works off stored webhooks. Default 10.
``ARCHIVE_URL``              Where months of events go after 90 days: a folder (``/srv/archive`` or ``file:///...``),
                             ``s3://bucket/path``, ``gs://...`` or ``az://...`` (credentials as the cloud's own tools
                             take them, such as ``AWS_ACCESS_KEY_ID``). Empty: nothing is archived, nor ever dropped.
``RATE_LIMIT_KEY_REQUESTS``  Requests with events an API key may send: ``60000/minute``, or several limits with ``;``
                             between them. Empty: no limit. A key may have a limit of its own. Default 60000/minute.
``RATE_LIMIT_TENANT_EVENTS`` Events a tenant may send, likewise. Default 6000000/minute.
``RATE_LIMIT_REDIS_URL``     Where they are counted. Default: ``REDIS_URL``.
``METRICS_TOKEN``            Token that ``GET /metrics`` asks for. Default empty: an API key with the scope ``admin``.
``LOG_FORMAT``               ``json`` or ``console``. Default json, console under ``DEBUG``.
``LOG_LEVEL``                Least severity that is logged. Default INFO.
``BILLING_VAR``              Folder of the embedded services' state. Default ``var/`` beside ``manage.py``.
===========================  =======================================================================================
"""

import json
from pathlib import Path
from typing import Any, Final

import django_stubs_ext
import environ
import limits
from django.core.exceptions import ImproperlyConfigured

django_stubs_ext.monkeypatch()  # lets annotations name Django's generic classes with their parameters

BASE_DIR: Final = Path(__file__).resolve().parent.parent

env = environ.Env()


def _embedded_services() -> dict[str, str]:
    """The addresses that a running supervisor wrote, or none."""
    try:
        return dict(json.loads((BILLING_VAR / "services.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _service_url(variable: str, written_as: str) -> str:
    url = env.str(variable, default="") or SERVICES.get(written_as, "")
    if not url:
        raise ImproperlyConfigured(
            f"{variable} is not set, and no embedded services are running (start them with: bin/demo, or manage.py up)",
        )
    return str(url)


def _database(variable: str, url: str) -> dict[str, Any]:
    try:
        parsed = environ.Env.db_url_config(url)
    except Exception:  # noqa: BLE001  (the library raises what its parts raise)
        # Without the error, which would tell a part of the password (what stands before a slash in it, as a port).
        raise ImproperlyConfigured(f"{variable} is not a database URL; escape what is special in it") from None
    if parsed.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(f"{variable} must be a postgresql:// URL")
    return {
        **parsed,
        "CONN_MAX_AGE": _seconds("DATABASE_CONN_MAX_AGE", default=60, least=0),
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,  # PgBouncer in transaction mode has no session to keep them in
        "OPTIONS": {**parsed.get("OPTIONS", {}), "connect_timeout": 5},
    }


def _choice(variable: str, choices: tuple[str, ...], default: str) -> str:
    value = str(env.str(variable, default=default))
    if value not in choices:
        raise ImproperlyConfigured(f"{variable} must be one of {', '.join(choices)}, not {value!r}")
    return value


def _flag(variable: str, *, default: bool) -> bool:
    value = str(env.str(variable, default=str(default))).lower()
    if value not in ("true", "false", "1", "0", "on", "off", "yes", "no"):
        raise ImproperlyConfigured(f"{variable} must be true or false, not {value!r}")
    return value in ("true", "1", "on", "yes")


def _seconds(variable: str, *, default: int, least: int = 1) -> int:
    text = str(env.str(variable, default=str(default)))
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise ImproperlyConfigured(f"{variable} must be a whole number of seconds, at least {least}, not {text!r}")
    return int(text)


def _archive_url() -> str:
    text = str(env.str("ARCHIVE_URL", default=""))
    url = Path(text).as_uri() if text.startswith("/") else text
    if url and url.partition("://")[0] not in ("file", "s3", "gs", "az"):
        raise ImproperlyConfigured(
            f"ARCHIVE_URL must be an absolute path, or begin with file://, s3://, gs:// or az://, not be {text!r}",
        )
    return url


def _rate_limits(variable: str, *, default: str) -> str:
    text = str(env.str(variable, default=default)).strip()
    try:
        if text:
            limits.parse_many(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"{variable} must be like 100/second; 5000/hour, not {text!r}") from error
    return text


BILLING_VAR: Final = Path(env.str("BILLING_VAR", default=str(BASE_DIR / "var")))
SERVICES: Final = _embedded_services()

# --- what this process is -------------------------------------------------------------------------------------------

DEBUG = _flag("DEBUG", default=False)
ENVIRONMENT = _choice("ENVIRONMENT", ("test", "live"), default="test")
SECRET_KEY = env.str("SECRET_KEY", default="") or SERVICES.get("secret_key", "")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured("SECRET_KEY is not set")
    SECRET_KEY = "insecure-" + "only-for-debugging-" * 3
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
HTTPS = _flag("HTTPS", default=not DEBUG and not SERVICES)

ROOT_URLCONF = "billing_site.urls"
WSGI_APPLICATION = "billing_site.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "unfold",
    "billing_site.kernel",
    "ledger",
    "metering",
    "invoicing",
    "marketplaces",
    "payments",
    "rest_framework",
    "django_filters",
    "drf_standardized_errors",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "billing_site.kernel.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- where the truth is ---------------------------------------------------------------------------------------------

DATABASE_URL = _service_url("DATABASE_URL", "database_url")
OWNER_DATABASE_URL = env.str("OWNER_DATABASE_URL", default="") or SERVICES.get("owner_database_url", "") or DATABASE_URL
DATABASES = {
    "default": _database("DATABASE_URL", DATABASE_URL),
    "owner": _database("OWNER_DATABASE_URL", OWNER_DATABASE_URL),
}
DATABASE_ROUTERS = ["billing_site.kernel.database.ServiceRoleRouter"]

# --- the broker: it decides how soon, never whether -----------------------------------------------------------------

CELERY_BROKER_URL = _service_url("REDIS_URL", "redis_url")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = False  # a task that kills its worker would come back for ever; the sweep finds it
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_TIME_LIMIT = 900
CELERY_TASK_SOFT_TIME_LIMIT = 840
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600, "socket_timeout": 5, "socket_connect_timeout": 5}
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True

BEAT_AGGREGATE_SECONDS = _seconds("BEAT_AGGREGATE_SECONDS", default=60)
BEAT_BILLING_SECONDS = _seconds("BEAT_BILLING_SECONDS", default=300)
BEAT_WEBHOOK_SECONDS = _seconds("BEAT_WEBHOOK_SECONDS", default=10)

# --- rate limits: Redis counts, and while it is away everything passes ----------------------------------------------

RATE_LIMIT_KEY_REQUESTS = _rate_limits("RATE_LIMIT_KEY_REQUESTS", default="60000/minute")
RATE_LIMIT_TENANT_EVENTS = _rate_limits("RATE_LIMIT_TENANT_EVENTS", default="6000000/minute")
RATE_LIMIT_REDIS_URL = env.str("RATE_LIMIT_REDIS_URL", default="") or CELERY_BROKER_URL

# --- metrics --------------------------------------------------------------------------------------------------------

METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# --- outside services -----------------------------------------------------------------------------------------------

STRIPE_API_KEY = env.str("STRIPE_API_KEY", default="") or SERVICES.get("stripe_api_key", "")
STRIPE_WEBHOOK_SECRETS = env.list("STRIPE_WEBHOOK_SECRET", default=[]) or [
    secret for secret in [SERVICES.get("stripe_webhook_secret", "")] if secret
]
STRIPE_API_BASE = (
    env.str("STRIPE_API_BASE", default="") or SERVICES.get("stripe_api_base", "") or "https://api.stripe.com"
)

ARCHIVE_URL = _archive_url()

# --- API ------------------------------------------------------------------------------------------------------------

APPEND_SLASH = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["billing_site.kernel.access.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["billing_site.kernel.access.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["billing_site.kernel.access.JsonParser"],
    "DEFAULT_PAGINATION_CLASS": "billing_site.kernel.pages.CursorPage",
    "PAGE_SIZE": 20,
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "billing_site.kernel.openapi.Schema",
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": True,
    "URL_FORMAT_OVERRIDE": None,  # `?format=` would be a parameter that the contract does not know
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_FORMATTER_CLASS": "billing_site.kernel.problems.ProblemFormatter",
    "EXCEPTION_HANDLER_CLASS": "billing_site.kernel.problems.ProblemHandler",
    "NESTED_FIELD_SEPARATOR": "/",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Usage billing",
    "DESCRIPTION": "Metering events in, invoices and a double-entry ledger out.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": "/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "metering.openapi.add_ingest",
        "metering.openapi.add_requests",
        "billing_site.kernel.openapi.add_probes",
    ],
    "ENUM_NAME_OVERRIDES": {
        "SideEnum": ["debit", "credit"],
        "AggregationEnum": "metering.models.Aggregation",
        "DeadLetterStateEnum": "metering.models.DeadLetterState",
    },
}

# --- admin ----------------------------------------------------------------------------------------------------------

UNFOLD = {
    "SITE_TITLE": "Usage billing",
    "SITE_HEADER": "Usage billing",
    "SITE_SYMBOL": "receipt_long",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
}
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # served from the packages that hold them: there is nothing to collect
WHITENOISE_AUTOREFRESH = False
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

# --- security -------------------------------------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]  # probes come from inside, without TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

# --- time, language, logs -------------------------------------------------------------------------------------------

TIME_ZONE = "UTC"
USE_TZ = True
LANGUAGE_CODE = "en-us"
USE_I18N = True
FORMAT_MODULE_PATH = ["billing_site.formats"]

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOG_FORMAT = _choice("LOG_FORMAT", ("json", "console"), default="console" if DEBUG else "json")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {"()": "billing_site.kernel.logs.formatter", "style_name": LOG_FORMAT},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django.server": {"handlers": [], "propagate": True},
        "celery": {"handlers": [], "propagate": True},
        "stripe": {"level": "WARNING"},  # its library tells every call twice
    },
}
