"""Connections that stay open, are closed by the other side, or are waited on when everything is to end."""

import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.client import HTTPException

import pytest

from market_data_pipeline.core.sources.transport import Downloads

Serve = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"


@pytest.fixture
def listening() -> Iterator[Callable[[Serve], str]]:
    """Start a server that does this with each connection, in a thread of its own; gives its address."""
    ended, threads = threading.Event(), list[threading.Thread]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def accept(serve: Serve) -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    serve(connection)

        def start(serve: Serve) -> str:
            threads.append(threading.Thread(target=accept, args=[serve]))
            threads[-1].start()
            return f"http://127.0.0.1:{server.getsockname()[1]}"

        yield start
        ended.set()
        for thread in threads:
            thread.join(5)


@pytest.fixture
def opened() -> Iterator[Callable[[str], Downloads]]:
    made: list[Downloads] = []

    def open_(address: str) -> Downloads:
        made.append(Downloads(address))
        return made[-1]

    yield open_
    for downloads in made:
        downloads.close()


def test_a_connection_that_was_closed_while_it_was_idle_is_opened_again(listening, opened):
    connections = []

    def one_answer(connection: socket.socket) -> None:
        connections.append(connection.recv(1000))
        connection.sendall(OK)

    downloads = opened(listening(one_answer))
    assert [downloads.get("/file") for _ in range(3)] == [(200, b"whole")] * 3
    assert len(connections) == 3


def test_a_new_connection_that_is_closed_without_an_answer_is_a_fault(listening, opened):
    asked = []
    downloads = opened(listening(lambda connection: asked.append(connection.recv(1000))))
    with pytest.raises(ConnectionError):
        downloads.get("/file")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("address", "asked", "answer"),
    [
        ("http://archive.invalid/below", b"GET http://archive.invalid/file HTTP/1.1", OK),
        ("https://archive.invalid", b"CONNECT archive.invalid:443 HTTP/1.", b"HTTP/1.1 502 No\r\n\r\n"),
    ],
)
def test_a_proxy_of_the_environment_is_asked_and_told_who_asks(
    listening, opened, monkeypatch: pytest.MonkeyPatch, address: str, asked: bytes, answer: bytes
) -> None:
    heard = []

    def proxy(connection: socket.socket) -> None:
        heard.append(connection.recv(1000))
        connection.sendall(answer)

    monkeypatch.setenv("no_proxy", "")
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, listening(proxy).replace("//", "//me:my%20word@"))
    if answer == OK:
        assert opened(address).get("/file") == (200, b"whole")
    else:
        with pytest.raises(OSError, match="502 No"):
            opened(address).get("/file")
    (request,) = heard
    assert request.startswith(asked)
    assert b"proxy-authorization: basic " + b64encode(b"me:my word").lower() in request.lower()


def test_this_machine_and_what_no_proxy_names_are_reached_directly(
    listening, opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    address = listening(lambda connection: connection.recv(1000) and connection.sendall(OK))
    assert opened(address).get("/file") == (200, b"whole")
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.setenv("no_proxy", "archive.invalid")
    with pytest.raises(socket.gaierror):
        opened("http://archive.invalid").get("/file")


def test_a_proxy_that_cannot_be_spoken_to_is_named(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(OSError, match="an http address, not through socks5"):
        opened("https://archive.invalid").get("/file")


def test_closing_ends_the_waiting_for_an_answer(listening, opened):
    asked, done = threading.Event(), threading.Event()

    def no_answer(connection: socket.socket) -> None:
        connection.recv(1000)
        asked.set()
        done.wait(10)

    downloads = opened(listening(no_answer))
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            downloads.get("/file")
        except (OSError, HTTPException) as error:
            failed.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    asked.wait(5)
    began = time.monotonic()
    downloads.close()
    waiting.join(5)
    done.set()
    assert len(failed) == 1
    assert time.monotonic() - began < 5
