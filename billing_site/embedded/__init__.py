"""
PostgreSQL and Valkey out of wheels: the services that the demo and the tests run on, with nothing installed.

Doors: ``postgres`` (a cluster in a folder, its roles and its database), ``valkey``, ``launch`` (start a program that
dies with its parent). Imports no Django, because settings are only read once these services run.
"""
