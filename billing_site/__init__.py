"""
The site: settings, URLs, Celery with its schedule, and the kernel that every app stands on.

Doors: ``settings`` (every environment variable is documented there), ``urls``, ``celery`` and ``schedule``, ``kernel``
(money, ids, errors, API plumbing), ``embedded`` and ``supervisor`` (the service on one machine). The site imports no
app; it wires them by dotted name.
"""
