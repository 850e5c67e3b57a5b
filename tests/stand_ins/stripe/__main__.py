"""Run the stand-in until it is told to stop."""

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from tests.stand_ins.stripe.account import Account
from tests.stand_ins.stripe.control import Control
from tests.stand_ins.stripe.delivery import Delivery
from tests.stand_ins.stripe.faults import Faults
from tests.stand_ins.stripe.journal import Journal
from tests.stand_ins.stripe.server import StripeServer
from tests.stand_ins.stripe.service import Service


def main() -> None:
    """Parse the command line, serve, and leave quietly on SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.stand_ins.stripe", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, which is printed")
    parser.add_argument("--api-key", default="sk_test_stand_in")
    parser.add_argument("--webhook-url", default="", help="where events go; without it none are sent")
    parser.add_argument("--webhook-secret", default="whsec_stand_in")
    parser.add_argument("--state", type=Path, help="a journal to keep the objects in over a restart")
    parser.add_argument("--stop-with-parent", action="store_true", help="end when the process that started it is gone")
    options = parser.parse_args()
    if options.stop_with_parent:
        threading.Thread(target=_stop_with_parent, args=(os.getppid(),), daemon=True).start()

    delivery = Delivery(options.webhook_url, options.webhook_secret)
    account = Account(Journal(options.state), delivery.announce)
    faults = Faults()
    server = StripeServer(options.port, Service(account, options.api_key), Control(account, delivery, faults), faults)
    delivery.start(lambda event_id: account.find("events", event_id), account.mark_delivered)
    for event_id in account.undelivered():
        delivery.announce(event_id)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sys.stdout.write(f"Stripe stand-in on http://127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        os._exit(0)


def _stop_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    main()
