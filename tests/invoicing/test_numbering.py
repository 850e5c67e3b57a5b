"""Gapless numbers."""

from datetime import UTC, datetime

import pytest
from django.db import transaction

from invoicing import numbering
from tests.support import threads

AT = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)


def _next(book: str = "main", at: datetime = AT) -> str:
    with transaction.atomic():
        return numbering.next_number(book=book, kind=numbering.INVOICE, at=at)


@pytest.mark.django_db
class TestNextNumber:
    def test_counts_for_each_book_and_year(self) -> None:
        numbers = [_next(), _next(), _next(book="other"), _next(at=datetime(2027, 1, 1, tzinfo=UTC)), _next()]

        assert numbers == [
            "INV-2026-000001",
            "INV-2026-000002",
            "INV-2026-000001",
            "INV-2027-000001",
            "INV-2026-000003",
        ]

    def test_is_given_again_after_a_rollback(self) -> None:
        with transaction.atomic():
            _next()
            transaction.set_rollback(True)

        assert _next() == "INV-2026-000001"


class TestNumbersAtOnce:
    def test_are_all_different_and_without_gap(self, committed_db: str) -> None:
        numbers = threads.run_together([_next] * 32)

        assert sorted(map(str, numbers)) == [f"INV-2026-{number:06d}" for number in range(1, 33)]
