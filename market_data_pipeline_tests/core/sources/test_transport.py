"""Requests over real sockets: limits, deadlines, connections that close, proxies, and closing while a thread waits."""

import gzip
import re
import socket
import sys
import threading
import time
import tracemalloc
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from market_data_pipeline.core.sources.proxies import proxy_settings_for
from market_data_pipeline.core.sources.transport import NoResponse, ResponseTooLarge, Transport

Serve = Callable[[socket.socket], None]
Listening = Callable[[Serve], str]
Opened = Callable[..., Transport]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"
MOST = 1000


@pytest.fixture
def listening() -> Iterator[Listening]:
    """Start a server that calls `serve` with each connection, in a thread of its own; returns its address."""
    ended, threads = threading.Event(), list[threading.Thread]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def accept(serve: Serve) -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection, suppress(OSError):  # the client may hang up
                    serve(connection)

        def start(serve: Serve) -> str:
            threads.append(threading.Thread(target=accept, args=[serve]))
            threads[-1].start()
            return f"http://127.0.0.1:{server.getsockname()[1]}"

        yield start
        ended.set()
        for thread in threads:
            thread.join(10)


@pytest.fixture
def opened() -> Iterator[Opened]:
    made: list[Transport] = []

    def open_(address: str, deadline_s: float = 20, **options: Any) -> Transport:
        made.append(Transport(address, connections=4, deadline_s=deadline_s, **options))
        return made[-1]

    yield open_
    for transport in made:
        transport.close()


def answering(*parts: bytes) -> Serve:
    """Read a request and send the parts."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        for part in parts:
            connection.sendall(part)

    return serve


def endlessly(head: bytes, part: bytes, pause_s: float = 0) -> Serve:
    """Read a request and send the part again and again until the client hangs up, for ten seconds at most."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(head)
        end_s = time.monotonic() + 10
        while time.monotonic() < end_s:
            connection.sendall(part)
            time.sleep(pause_s)

    return serve


def get(transport: Transport, most_bytes: int = MOST) -> tuple[int, bytes]:
    response = transport.request("/file", most_bytes=most_bytes)
    return response.status, response.body


# --- responses


def test_a_response_has_status_headers_of_any_case_and_body(listening, opened):
    head = b"HTTP/1.1 418 Teapot\r\nX-Weight: 7\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked\r\n\r\n"
    transport = opened(listening(answering(head, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n")))
    response = transport.request("/", most_bytes=MOST)
    assert (response.status, response.reason, response.headers["x-weight"]) == (418, "Teapot", "7")
    assert response.body == b"abcde"


def test_a_request_is_sent_as_given_and_no_cookie_comes_back(listening, opened):
    requests = []

    def serve(connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b"text"):
            request += connection.recv(1000)
        requests.append(request)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n")
        connection.sendall(b"Connection: close\r\n\r\n")

    transport = opened(listening(serve))
    headers = {"X-Own": "1", "Connection": "close"}
    for _ in range(2):
        response = transport.request("/a?b=%20c", method="POST", headers=headers, body=b"text", most_bytes=MOST)
        assert response.status == 302, "a redirect is not followed"
    for request in requests:
        assert request.startswith(b"POST /a?b=%20c HTTP/1.1\r\n")
        assert b"X-Own: 1\r\n" in request
        assert request.endswith(b"\r\n\r\ntext")
        assert b"cookie" not in request.lower()
    assert len(requests) == 2


def test_a_compressed_body_is_decoded(listening, opened):
    packed = gzip.compress(b"klines" * 50)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    assert get(opened(listening(answering(head, packed)))) == (200, b"klines" * 50)


# --- too much


def test_a_declared_size_over_the_limit_is_refused_before_the_body_is_read(listening, opened):
    transport = opened(listening(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")))
    with pytest.raises(ResponseTooLarge, match="1001 bytes, more than the 1000"):
        get(transport)


def test_a_body_of_exactly_the_limit_is_whole(listening, opened):
    assert get(opened(listening(answering(OK))), most_bytes=5) == (200, b"whole")
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"
    assert get(opened(listening(answering(chunked))), most_bytes=5) == (200, b"whole")


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 4096),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    ],
)
def test_a_body_without_end_is_cut_off_at_the_limit(listening, opened, head: bytes, part: bytes) -> None:
    with pytest.raises(ResponseTooLarge, match="more than the 100000 bytes"):
        get(opened(listening(endlessly(head, part))), most_bytes=100_000)


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: %d"])
def test_a_gzip_bomb_is_cut_off_at_the_limit_without_being_unpacked(listening, opened, framing: bytes) -> None:
    bomb = gzip.compress(bytes(200_000_000), compresslevel=9)
    if b"%d" in framing:
        parts = [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n", framing % len(bomb), b"\r\n\r\n", bomb]
    else:
        parts = [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n", framing, b"\r\n\r\n%x\r\n" % len(bomb), bomb]
    transport = opened(listening(answering(*parts)))
    tracemalloc.start()
    try:
        with pytest.raises(ResponseTooLarge):
            get(transport, most_bytes=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_body_that_is_not_the_gzip_it_claims_to_be_is_no_response(listening, opened):
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nwhole"
    with pytest.raises(NoResponse):
        get(opened(listening(answering(head))))


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 4096),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: x\r\n" * 100),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff",
            b"\0\0\0\xff\xff" * 1000,  # empty blocks of deflate
        ),
    ],
    ids=["continue", "extension", "trailers", "nothing"],
)
def test_what_is_sent_around_a_body_is_counted_too(listening, opened, head: bytes, part: bytes) -> None:
    began_s = time.monotonic()
    with pytest.raises(NoResponse, match="more than the|got more than|line"):
        get(opened(listening(endlessly(head, part))))
    assert time.monotonic() - began_s < 9


def test_headers_without_end_are_cut_off(listening, opened):
    with pytest.raises(NoResponse):
        get(opened(listening(endlessly(b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n" * 50))))


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (b"Content-Encoding: br", "encoded as 'br'"),
        (b"Content-Encoding: gzip, gzip\r\nContent-Length: 5", "encoded as 'gzip, gzip'"),
        (b"Content-Encoding: gzip\r\nContent-Encoding: deflate", "encoded as"),
        (b"Content-Length: -5", "how long"),
        (b"Content-Length: +5", "how long"),
        (b"Content-Length: 5\r\nContent-Length: 4", "how long|Content-Length"),
        (b"Content-Length: five", "how long|Content-Length"),
    ],
)
def test_a_body_that_is_not_framed_clearly_is_refused(listening, opened, headers: bytes, reason: str) -> None:
    with pytest.raises(NoResponse, match=reason):
        get(opened(listening(answering(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n\r\nwhole"))))


# --- too late


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_a_server_that_drips_is_left_at_the_deadline(listening, opened, head: bytes, part: bytes) -> None:
    transport, began_s = opened(listening(endlessly(head, part, pause_s=0.02)), deadline_s=0.4), time.monotonic()
    with pytest.raises(NoResponse, match=r"not complete within 0\.4 s"):
        get(transport)
    assert 0.3 < time.monotonic() - began_s < 3


def test_a_server_that_sends_nothing_is_left_at_the_deadline(listening, opened):
    transport = opened(listening(lambda connection: time.sleep(1)))
    with pytest.raises(NoResponse, match=r"not complete within 0\.2 s"):
        transport.request("/", most_bytes=MOST, deadline_s=0.2)


def test_a_body_that_ends_early_is_no_response(listening, opened):
    with pytest.raises(NoResponse):
        get(opened(listening(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nwhole"))))


# --- connections


def test_a_connection_stays_open_for_the_next_request(listening, opened):
    connections = []

    def serve(connection: socket.socket) -> None:
        connections.append(connection)
        while connection.recv(1000):
            connection.sendall(OK)

    transport = opened(listening(serve))
    assert [get(transport) for _ in range(3)] == [(200, b"whole")] * 3
    transport.close()
    assert len(connections) == 1


def test_a_connection_that_was_closed_while_it_was_idle_is_opened_again(listening, opened):
    connections = []

    def one_answer(connection: socket.socket) -> None:
        connections.append(connection.recv(1000))
        connection.sendall(OK)

    transport = opened(listening(one_answer))
    assert [get(transport) for _ in range(3)] == [(200, b"whole")] * 3
    assert len(connections) == 3


def test_a_post_is_not_sent_again_over_another_connection(listening, opened):
    requests = []

    def serve(connection: socket.socket) -> None:
        requests.append(connection.recv(1000))
        connection.sendall(OK)
        requests.append(connection.recv(1000))

    transport = opened(listening(serve))
    assert get(transport) == (200, b"whole")
    with pytest.raises(NoResponse):
        transport.request("/", method="POST", body=b"{}", most_bytes=MOST)
    assert [request.split()[0] for request in requests] == [b"GET", b"POST"]


def test_a_new_connection_that_is_closed_without_an_answer_is_a_fault(listening, opened):
    requests = []
    transport = opened(listening(lambda connection: requests.append(connection.recv(1000))))
    with pytest.raises(NoResponse):
        get(transport)
    assert len(requests) == 1


def test_an_address_where_nothing_listens_is_named_by_its_reason(opened):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(NoResponse, match=r"(?i)refused"):
            get(opened(f"http://127.0.0.1:{nobody.getsockname()[1]}"))


@contextmanager
def black_holes(port: int, hosts: list[str]) -> Iterator[None]:
    """Listeners whose queues are full, so that the system answers no further connection."""
    with ExitStack() as stack:
        for host in hosts:
            server = stack.enter_context(socket.create_server((host, port), backlog=0))
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(server.getsockname())
        yield


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems have one loopback address, or refuse where Linux waits"
)
def test_all_addresses_of_a_host_share_the_time_to_connect(listening, opened):
    port = urlsplit(listening(answering(OK))).port or 0
    dead = [f"127.0.0.{n}" for n in range(2, 6)]
    found: dict[str, list[str]] = {"dead.test": dead, "first-dead.test": [*dead, "127.0.0.1"]}

    def resolve(host: str, port: int) -> list[str]:
        return found[host]

    with black_holes(port, dead):
        began_s = time.monotonic()
        with pytest.raises(NoResponse, match="not complete within 1 s"):
            get(opened(f"http://dead.test:{port}", deadline_s=1, direct=True, resolve=resolve))
        assert 0.9 < time.monotonic() - began_s < 2
        assert get(opened(f"http://first-dead.test:{port}", deadline_s=5, direct=True, resolve=resolve)) == (
            200,
            b"whole",
        )


def test_a_lookup_that_hangs_ends_with_the_deadline(listening, opened):
    port = urlsplit(listening(answering(OK))).port or 0
    answered = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        if host == "hangs.test":
            answered.wait(30)
        return ["127.0.0.1"]

    began_s = time.monotonic()
    with pytest.raises(NoResponse, match="not complete within 1 s"):
        get(opened(f"http://hangs.test:{port}", deadline_s=1, direct=True, resolve=resolve))
    assert 0.9 < time.monotonic() - began_s < 5
    answered.set()
    assert get(opened(f"http://answers.test:{port}", deadline_s=5, direct=True, resolve=resolve)) == (200, b"whole")


def test_a_host_that_has_no_address_is_named_by_its_reason(opened):
    with pytest.raises(NoResponse, match="[Nn]ame|nodename"):
        get(opened("http://nowhere.invalid", direct=True))


def test_closing_ends_the_waiting_for_an_answer(listening, opened):
    waits, done = threading.Event(), threading.Event()

    def no_answer(connection: socket.socket) -> None:
        connection.recv(1000)
        waits.set()
        done.wait(10)

    transport = opened(listening(no_answer))
    failed: list[NoResponse] = []

    def request() -> None:
        try:
            get(transport)
        except NoResponse as error:
            failed.append(error)

    waiting = threading.Thread(target=request)
    waiting.start()
    waits.wait(5)
    began_s = time.monotonic()
    transport.close()
    waiting.join(5)
    done.set()
    assert [str(error) for error in failed] == ["the connections were closed"]
    assert time.monotonic() - began_s < 5
    with pytest.raises(NoResponse, match="were closed"):
        get(transport)


# --- proxies


@pytest.mark.parametrize(
    ("address", "asked", "answer"),
    [
        ("http://archive.invalid/below", b"GET http://archive.invalid/file HTTP/1.1", OK),
        ("https://archive.invalid", b"CONNECT archive.invalid:443 HTTP/1.", b"HTTP/1.1 502 No\r\n\r\n"),
    ],
)
def test_a_proxy_of_the_environment_gets_the_request_and_the_credentials(
    listening, opened, monkeypatch: pytest.MonkeyPatch, address: str, asked: bytes, answer: bytes
) -> None:
    heard = []

    def proxy(connection: socket.socket) -> None:
        heard.append(connection.recv(1000))
        connection.sendall(answer)

    monkeypatch.setenv("no_proxy", "")
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, listening(proxy).replace("//", "//me:my%20word@"))
    transport = opened(address)
    if answer == OK:
        assert get(transport) == (200, b"whole")
    else:
        with pytest.raises(NoResponse, match="502 No"):
            get(transport)
    (request,) = heard
    assert request.startswith(asked)
    assert b"proxy-authorization: basic " + b64encode(b"me:my word").lower() in request.lower()
    assert re.fullmatch(r" through the proxy 127\.0\.0\.1:\d+", transport.proxy_hint)


def test_a_tunnel_that_drips_is_left_at_the_deadline(listening, opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", listening(endlessly(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x", pause_s=0.02)))
    with pytest.raises(NoResponse, match=r"not complete within 0\.4 s"):
        get(opened("https://archive.invalid", deadline_s=0.4))


def through_socks(address: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Name a SOCKS proxy of many addresses in the environment; return the port of them all."""
    port = urlsplit(address).port or 0
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", f"socks5h://proxy.test:{port}")
    return port


def socks_proxy(connection: socket.socket) -> None:
    """Be a SOCKS proxy that asks for no password, and the host behind it."""
    connection.recv(1000)
    connection.sendall(b"\x05\x00")
    connection.recv(1000)
    connection.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
    answering(OK)(connection)


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems have one loopback address, or refuse where Linux waits"
)
def test_all_addresses_of_a_socks_proxy_share_the_time_to_connect(
    listening, opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = through_socks(listening(socks_proxy), monkeypatch)
    dead = [f"127.0.0.{n}" for n in range(2, 6)]
    with black_holes(port, dead):
        began_s = time.monotonic()
        with pytest.raises(NoResponse, match="not complete within 1 s"):
            get(opened("http://archive.invalid", deadline_s=1, resolve=lambda host, port: dead))
        assert 0.9 < time.monotonic() - began_s < 2
        found = [*dead, "127.0.0.1"]
        transport = opened("http://archive.invalid", deadline_s=5, resolve=lambda host, port: found)
        assert get(transport) == (200, b"whole")


def test_a_socks_proxy_that_drips_is_left_at_the_deadline(listening, opened, monkeypatch: pytest.MonkeyPatch) -> None:
    # A SOCKS proxy names the address that it connected from, by a name of up to 255 bytes.
    through_socks(listening(endlessly(b"\x05\x00\x05\x00\x00\x03\xff", b"x", pause_s=0.1)), monkeypatch)
    with pytest.raises(NoResponse, match=r"not complete within 0\.4 s"):
        get(opened("http://archive.invalid", deadline_s=0.4, resolve=lambda host, port: ["127.0.0.1"]))


def test_a_socks_proxy_without_address_is_named_by_its_reason(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    through_socks("http://127.0.0.1:9", monkeypatch)

    def resolve(host: str, port: int) -> list[str]:
        assert host == "proxy.test"
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(NoResponse, match="Name or service not known"):
        get(opened("http://archive.invalid", resolve=resolve))


def test_this_machine_and_what_no_proxy_names_are_reached_directly(
    listening, opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    address = listening(answering(OK))
    assert get(opened(address)) == (200, b"whole")
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.setenv("no_proxy", "archive.invalid")
    transport = opened("http://archive.invalid")
    with pytest.raises(NoResponse) as caught:
        get(transport)
    assert isinstance(caught.value.__cause__.__cause__, socket.gaierror)
    assert transport.proxy_hint == ""
    monkeypatch.setenv("no_proxy", "")
    assert opened("http://archive.invalid", direct=True).proxy_hint == ""


@pytest.mark.parametrize(
    "proxy", ["http://me:secret@proxy:port", "http://me:secret@", "socks5://me:secret@127.0.0.1:9"]
)
def test_the_error_of_a_proxy_that_cannot_be_used_does_not_have_its_password(
    opened, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", proxy)
    transport = opened("https://archive.invalid")
    with pytest.raises(NoResponse) as caught:
        get(transport)
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in f"{error} {transport.proxy_hint}"
        error = error.__cause__
    assert re.search("not a URL|PySocks|(?i:refused)", str(caught.value))


@pytest.mark.parametrize(
    ("proxy", "hint"),
    [
        ("me:secret@proxy:3128", " through the proxy proxy:3128"),
        ("https://proxy", " through the proxy proxy:443"),
        ("socks5h://proxy", " through the proxy proxy:1080"),
    ],
)
def test_a_proxy_is_named_by_host_and_port(monkeypatch: pytest.MonkeyPatch, proxy: str, hint: str) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", proxy)
    settings = proxy_settings_for("http://archive.invalid")
    assert settings.hint == hint
    assert "secret" not in repr(settings)


def test_certificates_that_are_not_there_are_named(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "nowhere.pem")
    with pytest.raises(NoResponse, match=r"no certificates at nowhere\.pem"):
        get(opened("https://archive.invalid"))
