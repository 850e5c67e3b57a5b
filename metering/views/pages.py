"""Pages of rows that are as fresh as the summaries they were read from."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

Row = TypeVar("Row")
Row_co = TypeVar("Row_co", covariant=True)


class FreshPage(Protocol[Row_co]):
    """Rows in the list's order, whether there are more, and since when later events may not be counted yet."""

    @property
    def rows(self) -> Sequence[Row_co]:
        """The page."""

    @property
    def has_more(self) -> bool:
        """Whether another page follows."""

    @property
    def fresh_as_of(self) -> datetime:
        """Every event accepted before is counted."""


def answer(page: FreshPage[Row], *, write_cursor: Callable[[Row], str]) -> dict[str, Any]:
    """What the page's serializer takes; ``write_cursor`` tells the place of the last row where another page follows."""
    return {
        "data": page.rows,
        "has_more": page.has_more,
        "next_cursor": write_cursor(page.rows[-1]) if page.has_more else None,
        "fresh_as_of": page.fresh_as_of,
    }
