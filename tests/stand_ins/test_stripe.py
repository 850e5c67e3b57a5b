"""The stand-in is as strict as Stripe, and stripe-python drives it unchanged."""

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe as sdk
from stripe import params

from tests.stand_ins.stripe import launch, routes

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def drive(stand_in: launch.StandIn, *, retries: int = 0) -> sdk.StripeClient:
    return sdk.StripeClient(
        stand_in.api_key,
        max_network_retries=retries,
        base_addresses={"api": stand_in.url},
        http_client=sdk.RequestsClient(timeout=(3, 5)),
    )


def post(stand_in: launch.StandIn, path: str, form: str, **headers: str) -> requests.Response:
    authorization = {"Authorization": f"Bearer {stand_in.api_key}"}
    return requests.post(stand_in.url + path, form, headers=FORM | authorization | headers, timeout=10)


def customer_with_card(client: sdk.StripeClient, card: str = "pm_card_visa") -> tuple[str, str]:
    customer = client.v1.customers.create({"name": "Acme"})
    method = client.v1.payment_methods.attach(card, {"customer": customer.id})
    return customer.id, method.id


def charge(customer: str, method: str, **changes: Any) -> Any:
    return {
        "amount": 1000,
        "currency": "usd",
        "customer": customer,
        "payment_method": method,
        "off_session": True,
        "confirm": True,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        **changes,
    }


class TestKeys:
    def test_it_takes_the_key_as_bearer_and_as_basic_user(self, stripe: launch.StandIn) -> None:
        assert requests.get(stripe.url + "/v1/events", auth=(stripe.api_key, ""), timeout=5).status_code == 200
        assert len(drive(stripe).v1.events.list().data) == 0

    @pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer sk_test_other"}, {"Authorization": "Basic !"}])
    def test_it_refuses_others(self, stripe: launch.StandIn, header: dict[str, str]) -> None:
        answer = requests.get(stripe.url + "/v1/events", headers=header, timeout=5)
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert answer.headers["Request-Id"].startswith("req_")


class TestParameters:
    @pytest.mark.parametrize(
        ("form", "code", "param"),
        [
            ("currency=usd", "parameter_missing", "amount"),
            ("amount=abc&currency=usd", "parameter_invalid_integer", "amount"),
            ("amount=1.5&currency=usd", "parameter_invalid_integer", "amount"),
            ("amount=49&currency=usd", "amount_too_small", "amount"),
            ("amount=100&currency=usd&colour=red", "parameter_unknown", "colour"),
            ("amount=100&currency=usd&metadata[a][b]=1", None, "metadata[a]"),
            (
                "amount=100&currency=usd&automatic_payment_methods[x]=1",
                "parameter_unknown",
                "automatic_payment_methods[x]",
            ),
            ("amount=100&currency=usd&customer=cus_none", "resource_missing", "customer"),
            ("amount=150&currency=isk", "invalid_charge_amount", "amount"),
            ("amount=100&currency=usd&off_session=true", None, "off_session"),
        ],
    )
    def test_it_refuses_what_stripe_refuses(
        self, stripe: launch.StandIn, form: str, code: str | None, param: str
    ) -> None:
        answer = post(stripe, "/v1/payment_intents", form)
        assert answer.status_code == 400
        assert (answer.json()["error"].get("code"), answer.json()["error"]["param"]) == (code, param)
        assert stripe.state()["counts"].get("payment_intents", 0) == 0

    def test_it_tells_404_for_an_unknown_object_and_an_unknown_address(self, stripe: launch.StandIn) -> None:
        with pytest.raises(sdk.InvalidRequestError) as refused:
            drive(stripe).v1.customers.retrieve("cus_none")
        assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")
        assert post(stripe, "/v1/no_such_thing", "").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "documented"),
    [
        ("POST", "/v1/customers", params.CustomerCreateParams),
        ("POST", "/v1/customers/{id}", params.CustomerUpdateParams),
        ("POST", "/v1/payment_intents", params.PaymentIntentCreateParams),
        ("POST", "/v1/payment_intents/{id}/confirm", params.PaymentIntentConfirmParams),
        ("GET", "/v1/payment_intents", params.PaymentIntentListParams),
        ("POST", "/v1/payment_methods/{id}/attach", params.PaymentMethodAttachParams),
        ("GET", "/v1/payment_methods", params.PaymentMethodListParams),
        ("GET", "/v1/customers/{id}/payment_methods", params.CustomerPaymentMethodListParams),
        ("GET", "/v1/events", params.EventListParams),
    ],
)
def test_it_takes_no_parameter_that_stripes_library_does_not_know(method: str, path: str, documented: type) -> None:
    endpoint = next(one for one in routes.ENDPOINTS if (one.method, one.path) == (method, path))
    assert set(endpoint.members) <= set(documented.__annotations__)


class TestIdempotency:
    def test_it_replays_the_first_answer(self, stripe: launch.StandIn) -> None:
        first = post(stripe, "/v1/customers", "name=Acme", **{"Idempotency-Key": "one"})
        second = post(stripe, "/v1/customers", "name=Acme", **{"Idempotency-Key": "one"})
        assert second.json() == first.json()
        assert second.headers["Idempotent-Replayed"] == "true"
        assert second.headers["Original-Request"] == first.headers["Request-Id"]
        assert stripe.state()["counts"]["customers"] == 1

    def test_it_replays_a_decline_and_charges_once(self, stripe: launch.StandIn) -> None:
        client = drive(stripe)
        customer, method = customer_with_card(client, "pm_card_chargeCustomerFail")
        for _ in range(2):
            with pytest.raises(sdk.CardError):
                client.v1.payment_intents.create(charge(customer, method), {"idempotency_key": "k"})
        assert stripe.state()["counts"]["charges"] == 1

    def test_it_refuses_the_key_with_other_parameters(self, stripe: launch.StandIn) -> None:
        post(stripe, "/v1/customers", "name=Acme", **{"Idempotency-Key": "one"})
        answer = post(stripe, "/v1/customers", "name=Other", **{"Idempotency-Key": "one"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "idempotency_error")

    def test_it_forgets_a_request_that_was_never_valid(self, stripe: launch.StandIn) -> None:
        assert post(stripe, "/v1/customers", "colour=red", **{"Idempotency-Key": "one"}).status_code == 400
        assert post(stripe, "/v1/customers", "name=Acme", **{"Idempotency-Key": "one"}).status_code == 200

    def test_it_answers_409_while_the_first_is_running(self, stripe: launch.StandIn) -> None:
        stripe.fault("delay", path="/v1/customers", seconds=1.0)
        answers: list[int] = []

        def ask() -> None:
            answers.append(post(stripe, "/v1/customers", "name=Acme", **{"Idempotency-Key": "one"}).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
            time.sleep(0.2)
        for thread in threads:
            thread.join()
        assert sorted(answers) == [200, 409]


class TestCards:
    @pytest.mark.parametrize(
        ("card", "code", "decline_code", "advice_code"),
        [
            ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline", "try_again_later"),
            ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds", "try_again_later"),
            ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card", "do_not_try_again"),
            ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card", "confirm_card_data"),
            ("pm_card_authenticationRequired", "authentication_required", "authentication_required", None),
        ],
    )
    def test_it_declines_with_the_documented_codes(
        self, stripe: launch.StandIn, card: str, code: str, decline_code: str, advice_code: str | None
    ) -> None:
        client = drive(stripe)
        customer = client.v1.customers.create({"name": "Acme"}).id
        with pytest.raises(sdk.CardError) as declined:
            client.v1.payment_intents.create(charge(customer, card))
        error: Any = declined.value.error
        assert (declined.value.http_status, error.code, error.decline_code) == (402, code, decline_code)
        assert getattr(error, "advice_code", None) == advice_code
        assert error.payment_intent.status == "requires_payment_method"
        assert declined.value.request_id

    def test_it_attaches_only_cards_that_stripe_attaches(self, stripe: launch.StandIn) -> None:
        client = drive(stripe)
        customer, method = customer_with_card(client, "pm_card_chargeCustomerFail")
        assert method.startswith("pm_")
        assert [one.id for one in client.v1.customers.payment_methods.list(customer).data] == [method]
        with pytest.raises(sdk.CardError):
            client.v1.payment_methods.attach("pm_card_visa_chargeDeclined", {"customer": customer})

    def test_it_never_charges_another_customers_card(self, stripe: launch.StandIn) -> None:
        client = drive(stripe)
        _, method = customer_with_card(client)
        other, _ = customer_with_card(client)
        with pytest.raises(sdk.InvalidRequestError):
            client.v1.payment_intents.create(charge(other, method))
        assert stripe.charged() == []

    def test_it_waits_for_the_owner_who_is_there(self, stripe: launch.StandIn) -> None:
        client = drive(stripe)
        customer, method = customer_with_card(client, "pm_card_authenticationRequired")
        parameters = charge(customer, method)
        del parameters["off_session"]
        intent = client.v1.payment_intents.create(parameters)
        assert intent.status == "requires_action"
        stripe.control("authenticate", payment_intent=intent.id, succeeded=True)
        assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"


class TestLists:
    def test_it_pages_newest_first(self, stripe: launch.StandIn) -> None:
        client = drive(stripe)
        customer, method = customer_with_card(client)
        made = [client.v1.payment_intents.create(charge(customer, method)).id for _ in range(5)]
        listed = client.v1.payment_intents.list({"customer": customer, "limit": 2})
        assert ([one.id for one in listed.data], listed.has_more) == (made[:2:-1], True)
        assert [one.id for one in listed.auto_paging_iter()] == made[::-1]

    def test_it_tells_events_of_what_happened(self, stripe: launch.StandIn) -> None:
        client = drive(stripe)
        customer, method = customer_with_card(client)
        intent = client.v1.payment_intents.create(charge(customer, method), {"idempotency_key": "k"})
        events = client.v1.events.list({"types": ["payment_intent.succeeded"]}).data
        assert [event.data.object["id"] for event in events] == [intent.id]
        assert events[0].request is not None
        assert events[0].request.idempotency_key == "k"


class TestFaults:
    def test_it_charges_and_keeps_silent(self, stripe: launch.StandIn) -> None:
        client = drive(stripe)
        customer, method = customer_with_card(client)
        stripe.fault("cut_after")
        with pytest.raises(sdk.APIConnectionError):
            client.v1.payment_intents.create(charge(customer, method), {"idempotency_key": "k"})
        intent = client.v1.payment_intents.create(charge(customer, method), {"idempotency_key": "k"})
        assert [one["id"] for one in stripe.charged()] == [intent.id]

    def test_it_replays_a_500_that_came_after_the_charge(self, stripe: launch.StandIn) -> None:
        client = drive(stripe, retries=1)
        customer, method = customer_with_card(client)
        stripe.fault("fail_after")
        with pytest.raises(sdk.APIError):
            client.v1.payment_intents.create(charge(customer, method), {"idempotency_key": "k"})
        assert len(stripe.charged()) == 1


class Listener:
    """An endpoint that refuses as often as it is told, then takes what comes."""

    def __init__(self, refusals: int) -> None:
        self.bodies: list[tuple[bytes, str]] = []
        self.refusals = refusals
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.bodies.append((body, self.headers["Stripe-Signature"]))
                listener.refusals -= 1
                self.send_response(500 if listener.refusals >= 0 else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/webhooks/stripe"

    def wait(self, count: int) -> None:
        give_up_at = time.monotonic() + 15
        while len(self.bodies) < count and time.monotonic() < give_up_at:
            time.sleep(0.02)
        assert len(self.bodies) >= count

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener(refusals=2)
    yield listening
    listening.close()


class TestWebhooks:
    def test_it_signs_and_repeats_until_taken(self, listener: Listener, tmp_path: Path) -> None:
        stand_in = launch.start(webhook_url=listener.url, state=tmp_path / "state")
        try:
            drive(stand_in).v1.customers.create({"name": "Acme"})
            listener.wait(3)
            for body, signature in listener.bodies:
                event = sdk.Webhook.construct_event(body, signature, stand_in.webhook_secret)
                assert event.type == "customer.created"
            assert len({body for body, _ in listener.bodies}) == 1
        finally:
            stand_in.stop()

    def test_it_knows_its_objects_and_its_answers_after_a_kill(self, listener: Listener, tmp_path: Path) -> None:
        listener.refusals = 0
        first = launch.start(state=tmp_path / "state")
        customer = post(first, "/v1/customers", "name=Acme", **{"Idempotency-Key": "one"}).json()["id"]
        first.process.kill()
        first.stop()
        second = launch.start(webhook_url=listener.url, state=tmp_path / "state")
        try:
            assert drive(second).v1.customers.retrieve(customer).name == "Acme"
            again = post(second, "/v1/customers", "name=Acme", **{"Idempotency-Key": "one"})
            assert again.json()["id"] == customer
            listener.wait(1)  # the event that nobody had taken before the kill
        finally:
            second.stop()
