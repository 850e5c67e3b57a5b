"""
The ledger over HTTP: reads, manual transactions and their reversals, closing and reopening periods.

A key that is bound to a tenant sees that tenant's accounts, and the transactions made for that tenant with their
entries. What belongs to the book as a whole is refused to it: the trial balance, the export, periods, and every write.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from django.db.models import Prefetch
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import renderers, status
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import access, api, clock, errors, idempotency, ids
from billing_site.kernel.serializers import as_invalid
from ledger import balances, books, chart, export, filters, manual, models, periods, posting, serializers
from ledger import errors as ledger_errors

_READ: Final = {"GET": "ledger:read"}
_WRITE: Final = {"POST": "ledger:write"}
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)


class BookEndpoint(api.Endpoint):
    """What is about a book as a whole, and so is refused to keys that are bound to a tenant."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Scope first, then the key's reach."""
        super().initial(request, *args, **kwargs)
        if self.bound_tenant_id() is not None:
            raise errors.Forbidden("this is about the whole book, and this key is bound to one tenant")

    def actor(self) -> str:
        """Who asks, as it is kept beside what was done."""
        return str(access.key_of(self.request).pk)


@extend_schema_view(get=extend_schema(summary="List accounts with their balances", tags=["ledger"]))
class AccountList(api.ListEndpoint):
    """Accounts, newest first."""

    scopes = _READ
    queryset = balances.with_balance(models.Account.objects.all())
    serializer_class = serializers.AccountSerializer
    filterset_class = filters.AccountFilter


class AccountDetail(api.Endpoint):
    """One account."""

    scopes = _READ

    @extend_schema(
        summary="One account and its balance, now or before a moment",
        tags=["ledger"],
        parameters=[serializers.AsOfQuery],
        responses=serializers.AccountSerializer,
    )
    def get(self, request: Request, public_id: str) -> Response:
        """The balance counts what took effect before ``as_of``."""
        as_of = self.query(serializers.AsOfQuery).get("as_of")
        accounts = balances.with_balance(self.restrict(models.Account.objects.all()), as_of=as_of)
        account = accounts.filter(pk=ids.decode_serial("acc", public_id) or 0).first()
        if account is None:
            raise ledger_errors.AccountNotFound(f"no account {public_id!r}")
        return Response(serializers.AccountSerializer(account).data)


class TenantBalances(api.Endpoint):
    """A tenant's balances."""

    scopes = _READ

    @extend_schema(
        summary="All balances of a tenant by account type",
        tags=["ledger"],
        parameters=[serializers.TenantQuery],
        responses=serializers.TenantBalancesSerializer,
    )
    def get(self, request: Request) -> Response:
        """One that has no account yet has no rows: the ledger does not know which tenants exist."""
        tenant_id = self.query(serializers.TenantQuery)["tenant_id"]
        self.require_tenant(tenant_id)
        answer = {"tenant_id": tenant_id, "data": balances.list_tenant_balances(tenant_id=tenant_id)}
        return Response(serializers.TenantBalancesSerializer(answer).data)


@extend_schema_view(get=extend_schema(summary="List entries", tags=["ledger"]))
class EntryList(api.ListEndpoint):
    """Entries, newest first; of one account they are its statement."""

    scopes = _READ
    queryset = models.Entry.objects.prefetch_related("account", "transaction")  # a join may be planned before the limit
    serializer_class = serializers.EntrySerializer
    filterset_class = filters.EntryFilter


@extend_schema_view(get=extend_schema(summary="List transactions", tags=["ledger"]))
class TransactionList(api.ListEndpoint):
    """Transactions without their entries, newest first; POST adjusts by hand."""

    scopes: ClassVar[Mapping[str, str]] = {**_READ, **_WRITE}
    queryset = models.Transaction.objects.all()
    serializer_class = serializers.TransactionSerializer
    filterset_class = filters.TransactionFilter

    @extend_schema(
        summary="Post a manual transaction",
        description="An adjustment with a reason, whose entries balance in one currency. Receivables (1100), deferred "
        "revenue (2100), prepaid credit (2200) and customer credit (2210) are closed to it: they belong to invoices, "
        "credits and their own corrections. An `occurred_at` in a closed period is kept, and the transaction takes "
        "effect at the first open moment. Refused to keys that are bound to a tenant.",
        tags=["ledger"],
        request=serializers.NewManualTransaction,
        responses={201: serializers.TransactionDetailSerializer},
    )
    @idempotency.idempotent
    def post(self, request: Request) -> Response:
        """The transaction with its entries."""
        if self.bound_tenant_id() is not None:
            raise errors.Forbidden("manual transactions are the whole book's, and this key is bound to one tenant")
        body = self.body(serializers.NewManualTransaction)
        now = clock.now()
        occurred_at = body.pop("occurred_at", now)
        if not _EARLIEST <= occurred_at <= now:
            raise as_invalid("/occurred_at", "out_of_range", f"is from {clock.format_instant(_EARLIEST)} to now")
        _require_book(body["book"])
        entries = [_new_entry(entry, body["tenant_id"]) for entry in body.pop("entries")]
        posted = manual.post_manual(
            **body, occurred_at=occurred_at, entries=entries, actor=str(access.key_of(request).pk)
        )
        return Response(_detail(self, posted.public_id), status=status.HTTP_201_CREATED)


class TransactionDetail(api.Endpoint):
    """One transaction."""

    scopes = _READ

    @extend_schema(
        summary="One transaction with its entries",
        tags=["ledger"],
        responses=serializers.TransactionDetailSerializer,
    )
    def get(self, request: Request, public_id: str) -> Response:
        """Another tenant's is not found."""
        self.query()
        return Response(_detail(self, public_id))


class TransactionReverse(BookEndpoint):
    """The way back from a manual transaction."""

    scopes = _WRITE

    @extend_schema(
        summary="Reverse a manual transaction",
        description="Posts the exact opposite, once: again answers the first reversal. Transactions that were not "
        "posted by hand are a 409, as they have corrections of their own.",
        tags=["ledger"],
        request=serializers.Reason,
        responses=serializers.TransactionDetailSerializer,
    )
    @idempotency.idempotent
    def post(self, request: Request, public_id: str) -> Response:
        """The reversal with its entries."""
        body = self.body(serializers.Reason)
        reversal = manual.reverse_manual(
            public_id=public_id,
            actor=self.actor(),
            reason=body["reason"],
            now=clock.now(),
        )
        return Response(_detail(self, reversal.public_id))


class TrialBalance(BookEndpoint):
    """The trial balance."""

    scopes = _READ

    @extend_schema(
        summary="The trial balance of a book, now or before a moment",
        tags=["ledger"],
        parameters=[serializers.TrialBalanceQuery],
        responses=serializers.TrialBalanceSerializer,
    )
    def get(self, request: Request) -> Response:
        """Refused to keys that are bound to a tenant: it is about the whole book."""
        asked = self.query(serializers.TrialBalanceQuery)
        books.get_book(asked["book"])
        as_of = asked.get("as_of")
        rows = balances.trial_balance(book=asked["book"], currency=asked.get("currency"), as_of=as_of)
        answer = {
            "book": asked["book"],
            "as_of": as_of,
            "data": rows,
            "totals": balances.trial_balance_totals(rows),
        }
        return Response(serializers.TrialBalanceSerializer(answer).data)


@extend_schema_view(get=extend_schema(summary="List closings of periods", tags=["ledger"]))
class PeriodList(BookEndpoint, api.ListEndpoint):
    """Closed periods, those that were reopened too, newest first."""

    scopes = _READ
    queryset = models.Period.objects.all()
    serializer_class = serializers.PeriodSerializer
    filterset_class = filters.PeriodFilter
    tenant_field = None


class PeriodClose(BookEndpoint):
    """Closing."""

    scopes = _WRITE

    @extend_schema(
        summary="Close a period of a book",
        description="Nothing takes effect in it any more, and a snapshot of all balances is kept. Periods are closed "
        "one after another without a gap: `period_start` is needed for the first alone. A period that does not follow "
        "the last closed one is a 409 with `closed_until`.",
        tags=["ledger"],
        request=serializers.PeriodChange,
        responses=serializers.PeriodSerializer,
    )
    @idempotency.idempotent
    def post(self, request: Request) -> Response:
        """The period, closed."""
        body = self.body(serializers.PeriodChange)
        now = clock.now()
        if body["period_end"] > now:
            raise as_invalid("/period_end", "out_of_range", "lies in the future; a period is closed when it is over")
        _require_book(body["book"])
        period = periods.close_period(**_period(body), actor=self.actor(), now=now)
        return Response(serializers.PeriodSerializer(period).data)


class PeriodReopen(BookEndpoint):
    """Reopening."""

    scopes = _WRITE

    @extend_schema(
        summary="Reopen the last closed period of a book",
        description="Its snapshot stays; closing the period again makes another revision. Only the last closed period "
        "can be reopened: anything else is a 409 with `closed_until`.",
        tags=["ledger"],
        request=serializers.PeriodChange,
        responses=serializers.PeriodSerializer,
    )
    @idempotency.idempotent
    def post(self, request: Request) -> Response:
        """The period, reopened."""
        body = self.body(serializers.PeriodChange)
        _require_book(body["book"])
        period = periods.reopen_period(**_period(body), actor=self.actor(), now=clock.now())
        return Response(serializers.PeriodSerializer(period).data)


class CsvRenderer(renderers.BaseRenderer):
    """Lets a caller ask for text/csv. Only problems pass through it, and those are JSON."""

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """A problem, whatever was asked for."""
        return renderers.JSONRenderer().render(data, *args, **kwargs)


class Export(BookEndpoint):
    """The general ledger as CSV."""

    scopes = _READ
    renderer_classes = (CsvRenderer, renderers.JSONRenderer)

    @extend_schema(
        summary="Export the general ledger as CSV",
        description="Every entry of a book that took effect from `from` on and before `to`, in the order of the books. "
        "Cells that a spreadsheet would take for a formula begin with an apostrophe.",
        tags=["ledger"],
        parameters=[serializers.ExportQuery],
        responses={(200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """A stream, of one moment."""
        asked = self.query(serializers.ExportQuery)
        book = books.get_book(asked["book"])
        lines = export.stream_csv(book=book.code, period_start=asked["from"], period_end=asked["to"])
        name = export.file_name(book.code, asked["from"], asked["to"])
        return StreamingHttpResponse(
            lines,
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def _detail(view: api.Endpoint, public_id: str) -> dict[str, Any]:
    """One transaction that the key may see, with its entries."""
    lines = models.Entry.objects.order_by("line_no").prefetch_related("account")
    visible = view.restrict(models.Transaction.objects.prefetch_related(Prefetch("entries", lines)))
    found = visible.filter(pk=ids.decode_serial("txn", public_id) or 0).first()
    if found is None:
        raise ledger_errors.TransactionNotFound(f"no transaction {public_id!r}")
    return dict(serializers.TransactionDetailSerializer(found, context={"view": view}).data)


def _require_book(code: str) -> None:
    try:
        books.get_book(code)
    except ledger_errors.BookNotFound as unknown:
        fault = errors.FieldError("/book", unknown.code, unknown.detail)
        raise ledger_errors.BookNotFound(unknown.detail, errors=[fault]) from unknown


def _new_entry(sent: dict[str, Any], tenant_id: str) -> posting.NewEntry:
    """Without a tenant of its own, an entry per tenant is for the transaction's."""
    is_per_tenant = chart.ACCOUNT_TYPES[sent["account_type"]].scope == "tenant"
    return posting.NewEntry(**{"tenant_id": tenant_id if is_per_tenant else "", **sent})


def _period(body: dict[str, Any]) -> dict[str, Any]:
    return {"period_start": None, **body}
