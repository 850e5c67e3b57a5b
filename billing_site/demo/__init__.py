"""
``bin/demo``: the service with two months of usage in it, as a newcomer first sees it.

Doors: ``command`` (``manage.py demo``), ``story`` (what is done, step by step), ``usage`` (the invented events).
It knows the service only from outside: HTTP and ``manage.py`` commands, each repeated until it has worked, so that
whatever dies meanwhile changes nothing in the end.
"""
