"""
The ledger over HTTP: reads alone.

A key that is bound to a tenant sees that tenant's accounts, and the transactions made for that tenant with their
entries. What belongs to the book as a whole, the trial balance above all, is refused to it.
"""

from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import api, errors, ids
from ledger import balances, books, filters, models, serializers
from ledger import errors as ledger_errors

_READ = {"GET": "ledger:read"}


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
    """Transactions without their entries, newest first."""

    scopes = _READ
    queryset = models.Transaction.objects.all()
    serializer_class = serializers.TransactionSerializer
    filterset_class = filters.TransactionFilter


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
        lines = models.Entry.objects.order_by("line_no").prefetch_related("account")
        visible = self.restrict(models.Transaction.objects.prefetch_related(Prefetch("entries", lines)))
        found = visible.filter(pk=ids.decode_serial("txn", public_id) or 0).first()
        if found is None:
            raise ledger_errors.TransactionNotFound(f"no transaction {public_id!r}")
        return Response(serializers.TransactionDetailSerializer(found, context={"view": self}).data)


class TrialBalance(api.Endpoint):
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
        if self.bound_tenant_id() is not None:
            raise errors.Forbidden("the trial balance is the whole book's, and this key is bound to one tenant")
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
