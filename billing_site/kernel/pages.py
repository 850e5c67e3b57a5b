"""Cursor pages: ``{"data": [...], "has_more": bool, "next_cursor": str or null}``, newest first."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.core.exceptions import ValidationError
from rest_framework import exceptions, pagination, response
from rest_framework.request import Request

from billing_site.kernel import errors


class CursorPage(pagination.CursorPagination):
    """``?limit=`` 1 to 100, ``?cursor=`` as answered; the view's ``ordering`` must be unique."""

    page_size = 20
    max_page_size = 100
    page_size_query_param = "limit"
    cursor_query_param = "cursor"
    ordering = "-id"

    def get_page_size(self, request: Request) -> int | None:
        """A limit out of bounds is refused, not clipped: the caller would miss rows without knowing."""
        text = request.query_params.get("limit")
        if text is None:
            return self.page_size
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= self.max_page_size:
            fault = errors.FieldError("?limit", "out_of_range", f"must be 1 to {self.max_page_size}, not {text!r}")
            raise errors.Invalid(f"limit {fault.detail}", errors=[fault])
        return int(text)

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """One page; a cursor whose place is none in this list is refused before the database is asked."""
        cursor = self.decode_cursor(request)
        if cursor is not None:
            column = queryset.model._meta.get_field(self.get_ordering(request, queryset, view)[0].lstrip("-"))  # noqa: SLF001  (a documented API)
            _require_place(column, cursor)
        return super().paginate_queryset(queryset, request, view)

    def decode_cursor(self, request: Request) -> Any:
        """A cursor that we never answered is the caller's mistake, not a missing page."""
        try:
            return super().decode_cursor(request)
        except exceptions.NotFound as error:
            raise _refusal() from error

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        """The view's own ordering."""
        ordering = getattr(view, "ordering", self.ordering)
        return (ordering,) if isinstance(ordering, str) else tuple(ordering)

    def get_paginated_response(self, data: Any) -> response.Response:
        """The page as the contract names its parts."""
        link = self.get_next_link()
        cursor = parse_qs(urlsplit(link).query)["cursor"][0] if link else None
        return response.Response({"data": data, "has_more": link is not None, "next_cursor": cursor})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The same for the OpenAPI document."""
        return {
            "type": "object",
            "required": ["data", "has_more", "next_cursor"],
            "properties": {
                "data": schema,
                "has_more": {"type": "boolean"},
                "next_cursor": {"type": ["string", "null"]},
            },
        }


def _require_place(column: Any, cursor: Any) -> None:
    """The place must be a value of the column that the list is ordered by, in which text no database holds a null."""
    if cursor.position is None and not cursor.offset:
        raise _refusal()
    try:
        value = column.to_python(cursor.position)
    except (ValidationError, ValueError) as error:
        raise _refusal() from error
    if "\x00" in str(value):
        raise _refusal()


def _refusal() -> errors.Invalid:
    fault = errors.FieldError("?cursor", "invalid_cursor", "is none that was answered as next_cursor")
    return errors.Invalid(f"cursor {fault.detail}", errors=[fault])
