"""
Views of the API: keys and scopes, strict bodies and queries, tenant isolation, cursor pages.

A view parses, makes one call and renders. ``Endpoint`` is the base of all; ``ListEndpoint`` answers filtered pages.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar

import django_filters
from django import forms
from django.db.models import Model, QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import generics, serializers, views
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import access, clock, errors, pages

M = TypeVar("M", bound=Model)

_PAGE_PARAMETERS: Final = frozenset({"limit", "cursor"})


class Endpoint(views.APIView):
    """
    Base of every view under /v1 but the event intake.

    ``scopes`` names the scope of each method that exists. A key bound to a tenant sees that tenant alone:
    ``restrict`` a queryset, ``require_tenant`` for a tenant that the request names.
    """

    scopes: ClassVar[Mapping[str, str]] = {"GET": "billing:read", "POST": "billing:write", "PATCH": "billing:write"}
    http_method_names = ["get", "post", "patch", "delete", "head"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Who asks, and whether the address can name anything: no database holds a null character."""
        super().initial(request, *args, **kwargs)
        if any("\x00" in str(value) for value in kwargs.values()):
            raise errors.NotFound("there is nothing with a null character in its name")

    def bound_tenant_id(self) -> str | None:
        """The tenant that the key is bound to, or None."""
        return access.key_of(self.request).tenant_id or None

    def restrict(self, queryset: QuerySet[M], field: str = "tenant_id") -> QuerySet[M]:
        """The rows that this key may see."""
        bound = self.bound_tenant_id()
        return queryset if bound is None else queryset.filter(**{field: bound})

    def require_tenant(self, tenant_id: str, error: type[errors.NotFound] = errors.NotFound) -> None:
        """Refuse another tenant than the key's as if it did not exist."""
        bound = self.bound_tenant_id()
        if bound is not None and bound != tenant_id:
            raise error(f"no tenant {tenant_id!r}")

    def body(self, serializer: type[serializers.Serializer[Any]], *, partial: bool = False) -> dict[str, Any]:
        """The validated body; raises 400 with a pointer for each fault."""
        self.query()
        bound = serializer(data=self.request.data, partial=partial, context={"request": self.request})
        bound.is_valid(raise_exception=True)
        return dict(bound.validated_data)

    def query(self, serializer: type[serializers.Serializer[Any]] | None = None) -> dict[str, Any]:
        """The validated query parameters; an unknown or repeated one is a 400. None known: none may be sent."""
        known = set(serializer().fields) if serializer else set()
        require_known_parameters(self.request, known)
        if serializer is None:
            return {}
        bound = serializer(data=self.request.query_params.dict(), context={"request": self.request})
        try:
            bound.is_valid(raise_exception=True)
        except serializers.ValidationError as error:
            raise _as_query_faults(error.detail) from error
        return dict(bound.validated_data)


class StrictFilterBackend(DjangoFilterBackend):
    """Filters by declared parameters; a value that does not parse, or a parameter that is not declared, is a 400."""

    def filter_queryset(self, request: Request, queryset: QuerySet[M], view: Any) -> QuerySet[M]:
        """The rows that match."""
        filterset_class = self.get_filterset_class(view, queryset)
        declared = set(filterset_class.get_filters()) if filterset_class else set()
        require_known_parameters(request, declared | _PAGE_PARAMETERS)
        if filterset_class is None:
            return queryset
        filterset = filterset_class(data=request.query_params, queryset=queryset, request=request)
        if not filterset.is_valid():
            raise _as_query_faults(
                {name: [str(message) for message in messages] for name, messages in filterset.errors.items()},
            )
        matching: QuerySet[M] = filterset.qs
        return matching


class ListEndpoint(Endpoint, generics.GenericAPIView[Any]):
    """A filtered, cursor-paged list; set ``queryset``, ``serializer_class``, ``filterset_class``, ``ordering``."""

    filter_backends = (StrictFilterBackend,)
    pagination_class = pages.CursorPage
    filterset_class: ClassVar[type[django_filters.FilterSet] | None] = None
    ordering: ClassVar[str | tuple[str, ...]] = "-id"
    tenant_field: ClassVar[str | None] = "tenant_id"

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One page, newest first."""
        queryset = self.get_queryset()
        if self.tenant_field is not None:
            queryset = self.restrict(queryset, self.tenant_field)
        page = self.paginate_queryset(self.filter_queryset(queryset))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class _InstantFormField(forms.Field):
    def to_python(self, value: Any) -> datetime | None:
        if not value:
            return None
        try:
            return clock.parse_instant(value)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


@extend_schema_field({"type": "string", "format": "date-time"})
class InstantFilter(django_filters.Filter):
    """A moment with its offset; name the parameter ``created_at_gte`` and the lookup ``gte``."""

    field_class = _InstantFormField


class CodeFilter(django_filters.CharFilter):
    """A caller's own code, exactly."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("max_length", 64)
        super().__init__(*args, **options)


def require_known_parameters(request: Request, known: set[str] | frozenset[str]) -> None:
    """
    Refuse query parameters that the contract does not name, or names once and were sent twice.

    Raises:
        errors.Invalid: with ``?name`` as pointer.
    """
    faults = [
        errors.FieldError(f"?{name}", "unknown_parameter", f"unknown; known are {', '.join(sorted(known)) or 'none'}")
        for name in request.query_params
        if name not in known
    ]
    faults += [
        errors.FieldError(f"?{name}", "repeated_parameter", "may be given once")
        for name in known
        if len(request.query_params.getlist(name)) > 1
    ]
    if faults:
        raise errors.Invalid(f"{faults[0].pointer[1:]}: {faults[0].detail}", errors=faults)


def page_parameters() -> list[OpenApiParameter]:
    """``limit`` and ``cursor`` for lists that page by themselves."""
    return [
        OpenApiParameter("limit", int, description="1 to 100, default 20"),
        OpenApiParameter("cursor", str, description="``next_cursor`` of the page before"),
    ]


def _as_query_faults(detail: Any) -> errors.Invalid:
    faults = [
        errors.FieldError(f"?{name}", getattr(message, "code", "invalid") or "invalid", str(message))
        for name, messages in dict(detail).items()
        for message in messages
    ]
    return errors.Invalid(f"{faults[0].pointer[1:]}: {faults[0].detail}", errors=faults)
