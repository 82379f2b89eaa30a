"""A webhook that listens at a secret address. Does not belong here: any assertion."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "T0000-B1111-verysecret"


@dataclass
class Receiver:
    """What arrived, and with which status the next requests are answered; 204 when there is none left."""

    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    answers: list[int] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.messages]

    @property
    def kinds(self) -> list[str]:
        return [message["kind"] for message in self.messages]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - the name is that of http.server
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests += 1
            status = receiver.answers.pop(0) if receiver.answers else 204
            if status < 300:
                assert self.path == f"/services/{SECRET}?channel=ops"
                assert self.headers["Content-Type"] == "application/json"
                receiver.messages.append(json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}/services/{SECRET}?channel=ops"
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
