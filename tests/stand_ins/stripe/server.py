"""HTTP: keep-alive connections, one thread each."""

import json
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.stand_ins.stripe.control import Control, Logged
from tests.stand_ins.stripe.faults import Fault, Faults
from tests.stand_ins.stripe.problems import StripeProblem
from tests.stand_ins.stripe.service import Asked, Reply, Service

LARGEST_BODY_BYTES = 1024 * 1024


class StripeServer(ThreadingHTTPServer):
    """Serves one account on 127.0.0.1."""

    daemon_threads = True
    # Many collectors connect at once; the default of 5 would make some of them wait for a retransmission.
    request_queue_size = 128

    def __init__(self, port: int, service: Service, control: Control, faults: Faults) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.service = service
        self.control = control
        self.faults = faults


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server_version = "nginx"
    sys_version = ""
    server: StripeServer

    def do_GET(self) -> None:
        """Answer a read; its parameters are in the query."""
        self._serve()

    def do_POST(self) -> None:
        """Answer a write; its parameters are in the form."""
        self._serve()

    def do_DELETE(self) -> None:
        """Answer a deletion."""
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class calls it so)
        """Keep quiet: ``GET /_control`` tells the requests."""

    def _serve(self) -> None:
        target = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST_BODY_BYTES:
            self.close_connection = True
            self._send(Reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"{}", {"Content-Type": "application/json"}))
            return
        body = self.rfile.read(length).decode("utf-8", "replace")
        if target.path.startswith("/_control"):
            self._control(target.path, body)
            return
        asked = Asked(self.command, target.path, body or target.query, dict(self.headers.items()))
        fault = self.server.faults.take(asked.method, asked.path)
        reply = self._answer(asked, fault)
        self._log(asked, reply)
        if reply is None:
            self.close_connection = True
            return
        self._send(reply)

    def _answer(self, asked: Asked, fault: Fault | None) -> Reply | None:
        """Answer as the service does, or as the fault wants; None is no answer at all."""
        if fault is None:
            return self.server.service.answer(asked)
        if fault.kind == "cut_before":
            return None
        if fault.kind == "refuse":
            content_type, body = fault.body()
            return Reply(fault.status, body, {"Content-Type": content_type, **fault.headers})
        instead = fault.status if fault.kind == "fail_after" else None
        before = fault.seconds if fault.kind == "delay" else 0.0
        reply = self.server.service.answer(asked, before=before, instead=instead)
        if fault.kind == "hang_after":
            time.sleep(fault.seconds)
        if fault.kind in {"cut_after", "hang_after"}:
            return None
        return Reply(reply.status, reply.body, {**reply.headers, **fault.headers})

    def _control(self, path: str, body: str) -> None:
        try:
            self.server.service.authenticate(dict(self.headers.items()))
            answer = self.server.control.answer(self.command, path, json.loads(body or "{}"))
            status = 200
        except StripeProblem as problem:
            status, answer = problem.status, problem.body
        except (ValueError, TypeError, KeyError) as error:
            status, answer = 400, {"error": {"message": repr(error), "type": "control"}}
        self._send(Reply(status, json.dumps(answer).encode(), {"Content-Type": "application/json"}))

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def _log(self, asked: Asked, reply: Reply | None) -> None:
        headers = reply.headers if reply is not None else {}
        self.server.control.requests.append(
            Logged(
                method=asked.method,
                path=asked.path,
                status=reply.status if reply is not None else 0,
                idempotency_key=asked.headers.get("Idempotency-Key"),
                request_id=headers.get("Request-Id", ""),
                stripe_version=asked.headers.get("Stripe-Version"),
                form=asked.form,
            )
        )
