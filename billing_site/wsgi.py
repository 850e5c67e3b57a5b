"""The WSGI door: ``gunicorn billing_site.wsgi``."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")

_django = get_wsgi_application()

from billing_site.kernel import chunked  # noqa: E402  (settings must be loaded first)

application = chunked.with_length(_django)
