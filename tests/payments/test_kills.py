"""A collecting process killed at each point between row, call and commit: one charge and one posting."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection, transaction

from invoicing.models import Invoice
from payments import collection
from payments.models import PaymentAttempt
from tests.factories import payments as factories
from tests.payments.support import LATER, assert_paid_once, attempts_of
from tests.stand_ins.stripe import launch

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("committed_db")]


@contextmanager
def collecting_process(stripe: launch.StandIn) -> Iterator[subprocess.Popen[bytes]]:
    """``manage.py collect_payments`` as a process of its own, killed with SIGKILL at the end."""
    environment = {**os.environ, "STRIPE_API_BASE": stripe.url, "STRIPE_API_KEY": stripe.api_key}
    command = [sys.executable, "manage.py", "collect_payments", "--as-of", "2026-11-01T06:00:00Z"]
    process = subprocess.Popen(command, cwd=launch.ROOT, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def wait_until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at, "it never came to that"
        time.sleep(0.02)


def has_a_row() -> bool:
    return PaymentAttempt.objects.exists()


def is_waiting_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        return cursor.fetchone() is not None


class TestKilled:
    def test_it_pays_once_after_a_kill_before_the_charge(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        with collecting_process(stripe):
            wait_until(has_a_row)
        collection.collect_payments(now=LATER)
        assert_paid_once(invoice, stripe)

    def test_it_pays_once_while_the_killed_ones_request_is_still_on_its_way(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        stripe.fault("delay", seconds=4)
        with collecting_process(stripe):
            wait_until(has_a_row)
            time.sleep(0.5)  # the request is out, and Stripe has not begun with it
        assert (attempts_of(invoice), stripe.charged()) == ([(1, "pending")], [])
        assert collection.collect_payments(now=LATER).unresolved == 1  # the key is in use
        wait_until(stripe.charged)
        assert collection.collect_payments(now=LATER + timedelta(minutes=10)).paid == 1
        assert_paid_once(invoice, stripe)

    def test_it_pays_once_after_a_kill_between_charge_and_answer(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        stripe.fault("hang_after", seconds=20)
        with collecting_process(stripe):
            wait_until(stripe.charged)
        assert attempts_of(invoice) == [(1, "pending")]
        assert collection.collect_payments(now=LATER).paid == 1
        assert_paid_once(invoice, stripe)

    def test_it_pays_once_after_a_kill_between_answer_and_commit(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        stripe.fault("delay", seconds=1)
        with collecting_process(stripe) as process:
            wait_until(has_a_row)
            with transaction.atomic():
                Invoice.objects.select_for_update().get(pk=invoice.pk)
                wait_until(stripe.charged)
                wait_until(is_waiting_for_a_lock)  # it has the answer and cannot write it down
                process.kill()
                process.wait(10)
        assert attempts_of(invoice) == [(1, "pending")]
        assert collection.collect_payments(now=LATER).paid == 1
        assert_paid_once(invoice, stripe)
