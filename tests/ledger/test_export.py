"""The general ledger as CSV: complete, streamed, harmless in a spreadsheet, and read by its dates."""

import csv
import io
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.http import StreamingHttpResponse
from django.test.utils import CaptureQueriesContext

from ledger import books, export, posting
from tests.factories import ledger as factories
from tests.factories.kernel import client
from tests.ledger.test_balances import TestPlans

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
PERIOD = "from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z"


def get(query: str = PERIOD, tenant_id: str = "", **headers: str) -> Any:
    return client("ledger:read", tenant_id=tenant_id).get(f"/v1/ledger/export.csv?{query}", headers=headers)


def rows(query: str = PERIOD) -> list[dict[str, str]]:
    response = get(query)
    assert response.status_code == 200, response.content
    assert isinstance(response, StreamingHttpResponse)
    return list(csv.DictReader(io.StringIO(response.getvalue().decode(), newline="")))


@pytest.mark.django_db
class TestExport:
    def test_has_each_entry_of_the_period_with_its_transaction(self) -> None:
        posted = factories.TransactionFactory(amount_cents=123, description='Invoice "7", final', occurred_at=NOVEMBER)
        debit, credit = rows()
        assert tuple(debit) == export.COLUMNS
        assert debit["transaction_id"] == credit["transaction_id"] == posted.public_id
        assert (debit["account_code"], debit["debit_cents"], debit["credit_cents"]) == ("1100", "123", "")
        assert (credit["account_code"], credit["debit_cents"], credit["credit_cents"]) == ("4000", "", "123")
        assert (debit["effective_at"], debit["currency"], debit["tenant_id"]) == (
            "2026-11-01T00:00:00Z",
            "USD",
            "acme-corp",
        )
        assert debit["description"] == 'Invoice "7", final'
        assert debit["idempotency_key"] == posted.idempotency_key

    def test_is_half_open_and_in_the_order_of_the_books(self) -> None:
        for occurred_at in (DECEMBER, DECEMBER - TICK, NOVEMBER, NOVEMBER - TICK):
            factories.TransactionFactory(occurred_at=occurred_at)
        assert [row["effective_at"] for row in rows()] == [
            *["2026-11-01T00:00:00Z"] * 2,
            *["2026-11-30T23:59:59.999999Z"] * 2,
        ]

    def test_is_one_books(self) -> None:
        books.open_book(code="acme-eu", name="Acme Europe")
        factories.TransactionFactory(book="acme-eu")
        assert rows() == []
        assert len(rows(f"{PERIOD}&book=acme-eu")) == 2

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
    def test_disarms_formulas(self, start: str) -> None:
        attack = f"{start}HYPERLINK(1)"
        factories.TransactionFactory(description=attack, reference_id=attack, idempotency_key=attack, kind=attack)
        for row in rows():
            assert {row["description"], row["reference_id"], row["idempotency_key"], row["kind"]} == {f"'{attack}"}

    def test_names_what_is_reversed(self) -> None:
        original = factories.TransactionFactory()
        with transaction.atomic():
            posting.reverse(
                original=original,
                kind="void",
                occurred_at=NOVEMBER,
                reference_type="invoice",
                reference_id="inv_1",
                description="voided",
            )
        assert [row["reverses_id"] for row in rows()] == ["", "", original.public_id, original.public_id]

    def test_is_a_file(self) -> None:
        response = get(Accept="text/csv")
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        assert response["Content-Disposition"] == 'attachment; filename="ledger-main-20261101-20261201.csv"'

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("", 400),
            ("from=2026-11-01T00:00:00Z", 400),
            ("from=2026-11-01&to=2026-12-01", 400),
            ("from=2026-12-01T00:00:00Z&to=2026-11-01T00:00:00Z", 400),
            (f"{PERIOD}&tenant_id=acme-corp", 400),
            (f"{PERIOD}&book=nowhere", 404),
        ],
    )
    def test_refuses_with_a_problem(self, query: str, status: int) -> None:
        response = get(query, Accept="text/csv")
        assert response.status_code == status
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["status"] == status

    def test_is_not_for_keys_that_are_bound_to_a_tenant(self) -> None:
        assert get(tenant_id="acme-corp").status_code == 403


class TestStream:
    def test_reads_a_slice_at_a_time_by_the_books_date(self, committed_db: str, owner_cursor: psycopg.Cursor) -> None:
        months = [
            [
                factories.NewTransactionFactory.build(occurred_at=NOVEMBER + timedelta(days=30 * month))
                for _ in range(700)
            ]
            for month in range(8)
        ]
        for new in months:
            with transaction.atomic():
                posting.post_many(book="main", transactions=new)
        owner_cursor.execute("VACUUM ANALYZE")
        with CaptureQueriesContext(connection) as captured:
            parts = list(export.stream_csv(book="main", period_start=NOVEMBER, period_end=DECEMBER))
        assert [part.count("\r\n") for part in parts] == [1, export.SLICE, 1400 - export.SLICE]
        (declared,) = (query["sql"] for query in captured if query["sql"].startswith("DECLARE"))
        statement = declared.removeprefix("DECLARE ledger_export NO SCROLL CURSOR FOR ")
        assert TestPlans().rows_scanned(statement) < 2 * 1400  # of 11,200

    def test_is_of_one_moment(self, committed_db: str) -> None:
        new = [factories.NewTransactionFactory.build() for _ in range(export.SLICE)]
        with transaction.atomic():
            posting.post_many(book="main", transactions=new)
        streamed = export.stream_csv(book="main", period_start=NOVEMBER, period_end=DECEMBER)
        first = list(itertools.islice(streamed, 2))
        factories.TransactionFactory()  # in the same thread, and so in the reader's own transaction
        rest = list(streamed)
        assert sum(part.count("\r\n") for part in first + rest) == 1 + 2 * export.SLICE
