"""
The service on one machine: database, broker, web, worker and beat as children of one process.

Doors: ``up`` (``manage.py up``), ``processes`` (the supervisor itself), ``services`` (which children there are),
``state`` (the folder of their state, ``services.json``). Imports no Django: settings find the services by what is
written here.
"""
