"""The ledger as a Django app, and what the service's role may do in it: read, and call the functions that post."""

from typing import ClassVar, Final

from django.apps import AppConfig

_POSTING_ARGUMENTS: Final = (
    "text, text[], bytea[], text[], text[], text[], timestamptz[], text[], text[], text[], jsonb[], "
    "integer[], bigint[], bigint[], text[], text[], text[], text[], integer[], integer[], integer[], text[], bigint[]"
)


class LedgerConfig(AppConfig):
    """No table may be written by the service's role; the functions write as their owner."""

    name = "ledger"
    verbose_name = "Ledger"
    service_privileges: ClassVar[dict[str, str]] = {
        "ledger_book": "SELECT",
        "ledger_account_type": "SELECT",
        "ledger_account": "SELECT",
        "ledger_balance": "SELECT",
        "ledger_transaction": "SELECT",
        "ledger_entry": "SELECT",
        "ledger_block": "SELECT",
        "ledger_period": "SELECT",
        "ledger_period_balance": "SELECT",
    }
    service_functions: ClassVar[tuple[str, ...]] = (
        "public.ledger_open_book(text, text)",
        f"public.ledger_post_transactions({_POSTING_ARGUMENTS})",
        "public.ledger_seal_next_block(text)",
        "public.ledger_close_period(text, timestamptz, timestamptz, timestamptz, text, text)",
        "public.ledger_reopen_period(text, timestamptz, timestamptz, timestamptz, text, text)",
    )
