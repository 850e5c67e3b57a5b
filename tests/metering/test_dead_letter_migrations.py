"""What becomes of dead letters can be taken back and made again; letters that were there before keep their places."""

import psycopg
from django.core.management import call_command

from metering import models


class TestMigrations:
    def test_are_reversible_and_place_letters_that_were_there_before(
        self, committed_db: str, owner_cursor: psycopg.Cursor
    ) -> None:
        call_command("migrate", "metering", "0004", database="owner", verbosity=0)
        owner_cursor.execute(
            "INSERT INTO metering_dead_letter (id, tenant_id, payload_digest, payload, code, detail, source, count,"
            " first_seen_at, last_seen_at, state) VALUES ('dl_1', 't', gen_random_uuid(), 'p', 'c', 'd', 's', 2,"
            " '2026-11-20T12:59:59Z', '2026-11-20T13:00:00Z', 'open')"
        )
        call_command("migrate", database="owner", verbosity=0)
        letter = models.DeadLetter.objects.get()
        assert (letter.event_hour, letter.opening_id, letter.state) == (498_660, "dl_1", "open")
        owner_cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'metering_dead_letter%'")
        assert owner_cursor.fetchone() == (5,)
