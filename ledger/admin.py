"""The ledger's screens: to look at, search and filter."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from billing_site.kernel import admin as kernel_admin
from billing_site.kernel import ids, money
from ledger import balances, models, reports

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations


@admin.register(models.Book)
class BookAdmin(kernel_admin.ReadOnlyModelAdmin):
    """Books, each with its trial balance and its entries as a file."""

    list_display = ("code", "name", "reports", "created_at")
    list_filter = ("created_at",)
    search_fields = ("code", "name")
    readonly_fields = ("reports",)

    def get_urls(self) -> list[URLPattern]:
        """The report beside the screens."""
        report = self.admin_site.admin_view(reports.trial_balance)
        return [path("<str:code>/trial-balance/", report, name="ledger_book_trial_balance"), *super().get_urls()]

    @admin.display(description="reports")
    def reports(self, book: models.Book) -> str:
        """The way to them."""
        address = reverse("admin:ledger_book_trial_balance", args=[book.code])
        return format_html('<a href="{}">trial balance and export</a>', address)


@admin.register(models.AccountType)
class AccountTypeAdmin(kernel_admin.ReadOnlyModelAdmin):
    """The chart of accounts."""

    list_display = ("code", "name", "category", "normal_side", "scope", "floor_cents", "shard_count")
    list_filter = ("category", "normal_side", "scope")
    search_fields = ("code", "name")


class BalanceInline(kernel_admin.ReadOnlyInline):
    """The balance rows of an account."""

    model = models.Balance
    fields = ("shard", "balance_cents", "last_seq", "floor_cents")


@admin.register(models.Account)
class AccountAdmin(kernel_admin.ReadOnlyModelAdmin):
    """Accounts with their balances."""

    list_display = ("public_id", "code", "type", "currency", "tenant_id", "channel", "balance", "normal_side", "book")
    list_filter = ("scope", "normal_side", "type", "currency", "book")
    search_fields = ("=tenant_id", "=code", "type")
    readonly_fields = ("statement",)
    inlines = (BalanceInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Account]:
        """With the balances, in the same statement."""
        return balances.with_balance(super().get_queryset(request))

    @admin.display(description="statement")
    def statement(self, account: models.Account) -> str:
        """The way to the account's entries, newest first."""
        address = reverse("admin:ledger_entry_changelist")
        return format_html('<a href="{}?account__id__exact={}">entries of this account</a>', address, account.pk)

    @admin.display(description="balance", ordering="balance_cents")
    def balance(self, account: "WithAnnotations[models.Account, balances.HeldCents]") -> str:
        """Positive on the normal side."""
        return money.format_cents(account.balance_cents, account.currency)


@admin.register(models.Balance)
class BalanceAdmin(kernel_admin.ReadOnlyModelAdmin):
    """Balance rows; a hot account has several."""

    list_display = ("account", "shard", "balance_cents", "last_seq", "floor_cents")
    list_select_related = ("account",)
    list_filter = ("account__type", "account__currency")
    search_fields = ("=account__tenant_id",)


class EntryInline(kernel_admin.ReadOnlyInline):
    """The entries of a transaction."""

    model = models.Entry
    fk_name = "transaction"
    fields = ("line_no", "account", "entry_type", "amount_cents", "balance_after_cents")
    ordering = ("line_no",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Entry]:
        """With their accounts."""
        queryset: QuerySet[models.Entry] = super().get_queryset(request)
        return queryset.select_related("account")


@admin.register(models.Transaction)
class TransactionAdmin(kernel_admin.ReadOnlyModelAdmin):
    """Transactions with their entries."""

    list_display = ("public_id", "effective_at", "kind", "tenant_id", "amount", "reference_id", "idempotency_key")
    list_filter = ("effective_at",)
    search_fields = ("=idempotency_key", "=tenant_id", "=reference_id")
    exclude = ("fingerprint",)
    inlines = (EntryInline,)

    @admin.display(description="amount", ordering="amount_cents")
    def amount(self, shown: models.Transaction) -> str:
        """The sum of the debits."""
        return money.format_cents(shown.amount_cents, shown.currency)


@admin.register(models.Entry)
class EntryAdmin(kernel_admin.ReadOnlyModelAdmin):
    """Entries, by what their transaction is about."""

    list_display = ("public_id", "effective_at", "account", "entry_type", "amount", "balance_after", "shown_txn")
    list_select_related = ("account", "transaction")
    list_filter = ("entry_type", "effective_at")
    search_fields = ("=tenant_id", "=transaction__idempotency_key", "=transaction__reference_id")

    @admin.display(description="amount", ordering="amount_cents")
    def amount(self, entry: models.Entry) -> str:
        """In the account's currency."""
        return money.format_cents(entry.amount_cents, entry.currency)

    @admin.display(description="balance after", empty_value="-")
    def balance_after(self, entry: models.Entry) -> str | None:
        """Of the account; where it is kept in shards, one shard's figure would mislead."""
        if entry.account.shard_count > 1:
            return None
        return money.format_cents(entry.balance_after_cents, entry.currency)

    @admin.display(description="transaction")
    def shown_txn(self, entry: models.Entry) -> str:
        """The fact."""
        return entry.transaction.idempotency_key


@admin.register(models.Block)
class BlockAdmin(kernel_admin.ReadOnlyModelAdmin):
    """Sealed blocks, and the hash to write down outside."""

    list_display = (
        "book",
        "number",
        "transaction_count",
        "sealed_at",
        "first_transaction",
        "last_transaction",
        "hash_hex",
    )
    list_filter = ("book", "sealed_at")
    search_fields = ("=number",)
    fields = (
        "book",
        "number",
        "transaction_count",
        "first_transaction",
        "last_transaction",
        "last_written_xid",
        "system_identifier",
        "sealed_at",
        "previous_hash_hex",
        "hash_hex",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Block]:
        """Without the digests, 320 kB a block."""
        queryset: QuerySet[models.Block] = super().get_queryset(request)
        return queryset.defer("digests")

    @admin.display(description="first transaction")
    def first_transaction(self, block: models.Block) -> str:
        """By the id that the API shows."""
        return ids.encode_serial("txn", block.first_transaction_id)

    @admin.display(description="last transaction")
    def last_transaction(self, block: models.Block) -> str:
        """By the id that the API shows."""
        return ids.encode_serial("txn", block.last_transaction_id)

    @admin.display(description="previous hash")
    def previous_hash_hex(self, block: models.Block) -> str:
        """Of the block before."""
        return bytes(block.previous_hash).hex()

    @admin.display(description="hash")
    def hash_hex(self, block: models.Block) -> str:
        """Of this block, and so of everything before it."""
        return block.hash_hex


@admin.register(models.Period)
class PeriodAdmin(kernel_admin.ReadOnlyModelAdmin):
    """Closed periods, those that were reopened too, with who did it and why."""

    list_display = ("public_id", "book", "starts_at", "ends_at", "revision", "state", "closed_by", "closed_at")
    list_filter = ("state", "book", "ends_at")
    search_fields = ("=closed_by", "=reopened_by", "close_reason", "reopen_reason")


@admin.register(models.PeriodBalance)
class PeriodBalanceAdmin(kernel_admin.ReadOnlyModelAdmin):
    """Snapshots: what each account held when a period ended."""

    list_display = ("period", "account", "held")
    list_select_related = ("account", "period")
    list_filter = ("period__book", "account__type", "account__currency")
    search_fields = ("=account__tenant_id", "=account__code")

    @admin.display(description="balance at its end", ordering="balance_cents")
    def held(self, shown: models.PeriodBalance) -> str:
        """Positive on the normal side."""
        return money.format_cents(shown.balance_cents, shown.account.currency)
