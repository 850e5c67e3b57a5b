"""
The kernel: what every app stands on and no app owns.

Money and currencies, ids, errors and their RFC 9457 form, cursor pages, API keys, idempotency keys, the outbox, retries
of due rows, operator commands and the base of admin screens. It imports no app.
"""
