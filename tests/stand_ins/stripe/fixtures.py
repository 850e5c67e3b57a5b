"""The stand-in as pytest fixtures, for the conftest of every folder that charges."""

from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings
from stripe import HTTPClient

from tests.stand_ins.stripe import launch


@pytest.fixture(scope="session")
def running_stripe() -> Iterator[launch.StandIn]:
    """One process for the whole session of a worker."""
    stand_in = launch.start()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def stripe(running_stripe: launch.StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> launch.StandIn:
    """The process as new: no objects, no faults; the service is pointed at it."""
    # The library waits half a second and more before it tries again; here nobody is overloaded.
    monkeypatch.setattr(HTTPClient, "INITIAL_DELAY", 0.01)
    monkeypatch.setattr(HTTPClient, "MAX_DELAY", 0.02)
    running_stripe.control("reset")
    settings.STRIPE_API_BASE = running_stripe.url
    settings.STRIPE_API_KEY = running_stripe.api_key
    settings.STRIPE_WEBHOOK_SECRETS = [running_stripe.webhook_secret]
    return running_stripe
