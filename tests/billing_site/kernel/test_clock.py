"""Moments on the wire."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from billing_site.kernel import clock


class TestParseInstant:
    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2026-11-01T00:00:00Z", datetime(2026, 11, 1, tzinfo=UTC)),
            ("2026-11-01T05:45:00+05:45", datetime(2026, 11, 1, tzinfo=UTC)),
            ("2026-11-01 00:00:00.5z", datetime(2026, 11, 1, 0, 0, 0, 500000, tzinfo=UTC)),
            ("2023-11-16T18:17:03.9799609Z", datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)),
        ],
    )
    def test_reads_rfc_3339_into_utc(self, text: str, moment: datetime) -> None:
        assert clock.parse_instant(text) == moment
        assert clock.parse_instant(text).tzinfo is UTC

    @pytest.mark.parametrize(
        "text",
        ["", "2026-11-01", "2026-11-01T00:00:00", "2026-02-30T00:00:00Z", "2026-11-01T25:00:00Z", "now", "1790000000"],
    )
    def test_refuses_anything_else(self, text: str) -> None:
        with pytest.raises(ValueError, match="time"):
            clock.parse_instant(text)


class TestFormatInstant:
    def test_writes_utc_with_z(self) -> None:
        zone = timezone(timedelta(hours=2))
        assert clock.format_instant(datetime(2026, 11, 1, 1, tzinfo=zone)) == "2026-10-31T23:00:00Z"
