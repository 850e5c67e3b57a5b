"""Stripe's stand-in and the service as processes: a charge, and the webhooks that come back by themselves."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import requests
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from billing_site.kernel import clock
from payments import collection, webhooks
from payments.models import ProviderMessage
from tests.factories import payments as factories
from tests.payments.support import NOW, assert_paid_once
from tests.stand_ins.stripe import launch

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("committed_db")]


def wait_until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at, "it never came to that"
        time.sleep(0.05)


@pytest.fixture
def web(committed_db: str) -> Iterator[str]:
    """The service's web process; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "STRIPE_WEBHOOK_SECRET": launch.WEBHOOK_SECRET}
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", address, "billing_site.wsgi"]
    process = subprocess.Popen([*command, "--threads", "2"], cwd=django_settings.BASE_DIR, env=environment)

    def answers() -> bool:
        try:
            return requests.get(f"http://{address}/healthz", timeout=5).ok
        except requests.RequestException:
            return False

    wait_until(answers)
    yield f"http://{address}"
    process.terminate()
    process.wait(20)


@pytest.fixture
def sending(web: str, settings: Settings) -> Iterator[launch.StandIn]:
    """A stand-in that sends its events to the service."""
    stand_in = launch.start(webhook_url=f"{web}/webhooks/stripe")
    settings.STRIPE_API_BASE = stand_in.url
    settings.STRIPE_API_KEY = stand_in.api_key
    yield stand_in
    stand_in.stop()


def test_it_hears_of_its_charge_twice_and_records_it_once(sending: launch.StandIn) -> None:
    sending.control("webhooks", copies=2)
    invoice = factories.make_chargeable_invoice()
    collection.collect_payments(now=NOW)
    wait_until(lambda: sending.state()["webhooks_waiting"] == 0)
    told = set(ProviderMessage.objects.values_list("event_type", flat=True))
    assert told >= {"customer.created", "payment_method.attached", "charge.succeeded", "payment_intent.succeeded"}
    report = webhooks.process_webhooks(now=clock.now())
    assert (report.processed, report.failed) == (1, 0)
    assert ProviderMessage.objects.count() == sending.state()["counts"]["events"]
    assert_paid_once(invoice, sending)


def test_it_is_paid_by_the_webhook_alone_when_the_answer_is_lost(sending: launch.StandIn) -> None:
    invoice = factories.make_chargeable_invoice()
    sending.fault("fail_after")
    assert collection.collect_payments(now=NOW).unresolved == 1
    wait_until(lambda: sending.state()["webhooks_waiting"] == 0)
    webhooks.process_webhooks(now=clock.now())
    assert_paid_once(invoice, sending)
