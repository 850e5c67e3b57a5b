"""
A stand-in for Stripe: its own process, speaking Stripe's protocol over HTTP.

It keeps state, checks what it is sent and is stricter than the real service where that is the safe side, so that what
passes here passes there. Tests and the demo start it; nothing of the service imports it.

    python -m tests.stand_ins.stripe --port 12111 --api-key sk_test_demo \\
        --webhook-url http://127.0.0.1:8000/webhooks/stripe --webhook-secret whsec_demo [--state var/stripe.ndjson]

Rooms: ``server`` (HTTP, keys, faults), ``routes`` (which call goes where), ``parameters`` (forms and their checks),
``idempotency``, ``account`` (objects, lists, events, kept in a journal), ``cards`` (test payment methods and their
outcomes), one module for each resource, ``delivery`` (signed webhooks), ``faults`` and ``control`` (what only tests
ask for), ``launch`` (starting and asking it from a test).
"""
