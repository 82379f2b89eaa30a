"""What a worker and Dagster's queue say of a broker that is set wrong, that refuses, or that is away."""

import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from sqlalchemy import make_url

from market_data_pipeline.instance.runs import open_instance
from market_data_pipeline_tests.instance.test_workers import GONE, add_run, launch, write_home
from market_data_pipeline_tests.servers import (
    BUCKET,
    KEY,
    SECRET,
    Link,
    broker_queue,
    free_ports,
    missing,
    moto,
    require_celery,
)
from market_data_pipeline_tests.support import MarketData, wait_until


@pytest.fixture
def worker(market_data: Callable[..., MarketData], tmp_path: Path, postgres: str) -> MarketData:
    """The command line with a home for workers."""
    require_celery()
    write_home(tmp_path / "home", postgres)
    tool = market_data()
    tool.env["DAGSTER_HOME"] = str(tmp_path / "home")
    return tool


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an object store."""
    with moto(tmp_path_factory.mktemp("objects")) as url:
        yield url


def refusal_of(worker: MarketData, broker: str) -> str:
    """The one line with which a worker ends."""
    result = worker("worker", CELERY_BROKER_URL=broker)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert "hidden" not in result.output
    return str(result.stderr)


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("", "is empty; set broker in dagster.yaml, or CELERY_BROKER_URL if that names it"),
        ("http://user:hidden@127.0.0.1", "begins with none of amqp, amqps, redis, rediss"),
        ("user:hidden@127.0.0.1:5672", "begins with none of amqp, amqps, redis, rediss"),
        ("amqp://user:hid#hidden@127.0.0.1", "the port of the broker is no number"),
        ("amqp:///vhost", "names no host"),
        ("redis://:hidden@127.0.0.1/hidden", "the database of the broker is no number"),
        ("amqp://user:hidden@127.0.0.1//?pool=3", "has an option that cannot be used"),
    ],
)
def test_a_url_of_no_broker_is_refused(worker: MarketData, broker: str, said: str) -> None:
    assert said in refusal_of(worker, broker)


@pytest.mark.parametrize(
    ("server", "instead", "said"),
    [
        ("rabbitmq", {"password": "hidden"}, "ACCESS_REFUSED"),
        ("rabbitmq", {"virtual_host": "nowhere"}, "vhost nowhere not found"),
        ("redis", {"virtual_host": "99999"}, "DB index is out of range"),
        ("redis", {"userid": "nobody", "password": "hidden"}, "invalid username-password pair"),
    ],
)
def test_what_the_broker_refuses_ends_a_worker(
    worker: MarketData, server: str, instead: dict[str, str], said: str
) -> None:
    from kombu import Connection

    with broker_queue(server) as (url, _):
        as_set = Connection(url).clone(**instead).as_uri(include_password=True)
        refusal = refusal_of(worker, as_set)
    assert said in refusal.partition(" refuses: ")[2]


@pytest.mark.parametrize("broker", ["", "http://127.0.0.1", "amqp://guest:hidden@127.0.0.1//"])
def test_dagsters_queue_keeps_a_run_while_the_broker_is_set_wrong(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, broker: str
) -> None:
    with broker_queue("rabbitmq"):
        monkeypatch.setenv("CELERY_BROKER_URL", broker)
        write_home(tmp_path / "home", postgres)
        # Dagster's queue keeps a run that fails with this kind of error.
        with open_instance(tmp_path / "home") as instance, pytest.raises(DagsterUserCodeUnreachableError) as raised:
            launch(instance, add_run(instance))
    assert "kept in the queue" in str(raised.value)
    assert "hidden" not in str(raised.value)


def handed_over(home: Path) -> str:
    """What Dagster's queue is told of a run that the broker does not take."""
    with open_instance(home) as instance, pytest.raises(DagsterUserCodeUnreachableError) as raised:
        launch(instance, add_run(instance))
    return str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["redis", "rediss", "amqp", "amqps"])
def test_a_port_that_says_nothing_is_not_waited_for_long(tmp_path: Path, postgres: str, scheme: str) -> None:
    require_celery()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://user:hidden@127.0.0.1:{silent.getsockname()[1]}/"
        write_home(tmp_path / "home", postgres, broker=url)
        began_s = time.monotonic()
        said = handed_over(tmp_path / "home")
    assert time.monotonic() - began_s < 40
    assert "does not answer" in said
    assert ("a port without TLS looks like this" in said) == (scheme in {"rediss", "amqps"})
    assert "hidden" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("server", "scheme", "said"),
    [
        ("redis", "rediss", "a port without TLS looks like this, too"),
        # RabbitMQ answers what it does not understand.
        ("rabbitmq", "amqps", "refuses: "),
    ],
)
def test_a_broker_without_tls_is_told_in_one_line(
    tmp_path: Path, postgres: str, caplog: pytest.LogCaptureFixture, server: str, scheme: str, said: str
) -> None:
    with broker_queue(server) as (url, _):
        write_home(tmp_path / "home", postgres, broker=f"{scheme}{url[url.index(':') :]}")
        began_s = time.monotonic()
        line = handed_over(tmp_path / "home")
    assert said in line
    assert "\n" not in line
    assert time.monotonic() - began_s < 40
    assert not [record for record in caplog.records if "insecure" in record.getMessage()]


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """The port of a Redis that speaks TLS, with a certificate of its own, `tls/cert.pem`."""
    folder, [port] = tmp_path / "tls", free_ports(1)
    folder.mkdir()
    if not (shutil.which("redis-server") and shutil.which("openssl")):
        missing("redis", "there is no program redis-server or openssl")
    files, subject = ("-keyout", "key.pem", "-out", "cert.pem"), ("-subj", "/CN=localhost")
    names = ("-addext", "subjectAltName=IP:127.0.0.1")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *subject, *names]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    files = ("--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem")
    command = ["redis-server", "--port", "0", "--tls-port", str(port), *files, "--tls-auth-clients", "no", "--save", ""]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as server:
        try:
            wait_until(lambda: b"Ready to accept" in (folder / "log").read_bytes() or server.poll() is not None)
            if server.poll() is not None:
                missing("redis", (folder / "log").read_text())
            yield port
        finally:
            server.kill()


@pytest.mark.slow
def test_the_certificate_of_redis_is_checked(worker: MarketData, tmp_path: Path, tls_port: int) -> None:
    url = f"rediss://127.0.0.1:{tls_port}/0"
    assert "certificate verify failed" in refusal_of(worker, url).partition(" refuses: ")[2]
    for how in (f"ssl_ca_certs={tmp_path / 'tls' / 'cert.pem'}", "ssl_cert_reqs=none"):
        with lines_of(worker, f"{url}?{how}") as lines:
            assert "takes runs of the queue" in lines.get(timeout=60)


def test_a_broker_without_a_password_is_shown_without_one(worker: MarketData) -> None:
    with broker_queue("redis") as (url, _):
        parts = urlsplit(url)
        address = f"redis://{parts.hostname}:{parts.port}/99999"
        assert f"the broker {address} refuses: " in refusal_of(worker, address)


def test_a_broken_dagster_yaml_is_told_in_one_way(worker: MarketData, tmp_path: Path) -> None:
    (tmp_path / "home" / "dagster.yaml").write_text("storage: [\n  a\nb: c\n", encoding="utf-8")
    told = [worker("worker"), worker("status", "--runs")]
    assert [each.exit_code for each in told] == [2, 2]
    assert told[0].stderr == told[1].stderr
    assert "line 3, column 2" in told[0].stderr
    assert told[0].stderr.count("\n") == 1


def test_a_variable_of_the_broker_that_is_not_set_is_named(worker: MarketData, tmp_path: Path) -> None:
    worker.env["CELERY_BROKER_URL"] = None  # type: ignore[assignment]
    result = worker("worker")
    file = tmp_path / "home" / "dagster.yaml"
    assert result.exit_code == 2
    assert result.stderr == f"error: {file} takes a setting from CELERY_BROKER_URL, which is not set; set it\n"


@pytest.mark.parametrize("variable", ["CELERY_BROKER_URL", "BROKER_URL"])
def test_the_broker_that_is_written_counts(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Celery takes a variable of the environment before its settings."""
    with broker_queue("rabbitmq") as (url, name):
        monkeypatch.setenv(variable, "redis://127.0.0.1:1/0")
        write_home(tmp_path / "home", postgres, name, url)
        with open_instance(tmp_path / "home") as instance:
            run, launcher = add_run(instance), instance.run_launcher
            launch(instance, run)
            with launcher.celery.connection_for_read() as connection:
                message = connection.SimpleQueue(launcher.celery.conf.task_queues[0]).get(timeout=10)
                message.ack()
    assert run.run_id in str(message.payload)


@pytest.mark.parametrize("kind", ["READ", "WRITE"])
def test_a_variable_that_celery_takes_before_what_is_written_is_refused(
    worker: MarketData, tmp_path: Path, postgres: str, kind: str
) -> None:
    write_home(tmp_path / "home", postgres, broker="amqp://127.0.0.1:1//")
    result = worker("worker", **{f"CELERY_BROKER_{kind}_URL": "amqp://user:hidden@127.0.0.1:2//"})
    assert result.exit_code == 2, result.output
    assert f"CELERY_BROKER_{kind}_URL names another broker than dagster.yaml" in result.stderr
    assert "hidden" not in result.output
    assert result.stderr.count("\n") == 1


@contextmanager
def lines_of(worker: MarketData, broker: str, *options: str, **env: str) -> Iterator["queue.Queue[str]"]:
    """The lines that a worker writes while it works; it ends after the block."""
    lines: queue.Queue[str] = queue.Queue()
    with worker.start("worker", *options, CELERY_BROKER_URL=broker, **env) as process, ExitStack() as stack:
        stack.callback(process.kill)
        for stream in (process.stderr, process.stdout):
            threading.Thread(target=lambda of: [lines.put(line) for line in of], args=(stream,), daemon=True).start()
        yield lines
        process.terminate()
        assert process.wait(60) == 0


def read_to(words: str, lines: "queue.Queue[str]") -> list[str]:
    """Take lines, up to the first with these words."""
    said = [""]
    while words not in said[-1]:
        said.append(lines.get(timeout=60))
    return [line for line in said if line.strip()]


@pytest.mark.slow
def test_a_worker_takes_no_variable_of_celerys_command_line(worker: MarketData, tmp_path: Path, postgres: str) -> None:
    with broker_queue("rabbitmq") as (url, name):
        write_home(tmp_path / "home", postgres, name, url)
        others = {"APP": "nowhere", "BROKER_URL": "redis://127.0.0.1:1/0", "LOADER": "nowhere"}
        with lines_of(worker, "redis://127.0.0.1:1/0", **others) as lines:
            assert f"takes runs of the queue {name} at amqp://" in lines.get(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["rabbitmq", "redis"])
def test_a_worker_waits_for_its_broker(
    worker: MarketData, tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    from kombu import Connection

    with ExitStack() as stack:
        url, name = stack.enter_context(broker_queue(server))
        write_home(tmp_path / "home", postgres, name)
        there = Connection(url)
        link = Link(str(there.hostname), int(there.port or there.default_port))
        stack.callback(link.cut)
        by_link = there.clone(hostname="127.0.0.1", port=link.port).as_uri(include_password=True)
        monkeypatch.setenv("CELERY_BROKER_URL", url)
        instance = stack.enter_context(open_instance(tmp_path / "home"))

        def is_done(run: dg.DagsterRun) -> bool:
            found = instance.get_run_by_id(run.run_id)
            return found is not None and found.is_success

        link.cut()
        with lines_of(worker, by_link) as lines:
            said = [lines.get(timeout=60)]
            # Twice: at the start, and while it works.
            for number in range(2):
                run = add_run(instance, status=dg.DagsterRunStatus.STARTING)
                launch(instance, run)
                assert not is_done(run)
                link.mend()
                wait_until(partial(is_done, run), 60)
                if not number:
                    link.cut()
                    said += read_to("does not answer", lines)
        said += read_to("Warm shutdown", lines)
    assert [line for line in said if "does not answer" in line or "is there" in line] == said[:1] + said[1:2] + said[
        3:5
    ]
    assert "does not answer" in said[0]
    assert "takes runs of the queue" in said[2]


@pytest.mark.slow
def test_a_worker_takes_no_run_before_its_postgres_is_there(worker: MarketData, tmp_path: Path, postgres: str) -> None:
    there = make_url(postgres)
    link = Link(str(there.host), there.port or 5432)
    by_link = there.set(host="127.0.0.1", port=link.port).render_as_string(hide_password=False)
    with ExitStack() as stack:
        stack.callback(link.cut)
        url, name = stack.enter_context(broker_queue("rabbitmq"))
        write_home(tmp_path / "home", by_link, name)
        link.cut()
        lines = stack.enter_context(lines_of(worker, url))
        assert "the Postgres of the Dagster instance cannot be used" in lines.get(timeout=60)
        link.mend()
        assert "takes runs of the queue" in lines.get(timeout=60)


BUCKET_VARIABLES = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}


def test_a_worker_without_its_bucket_takes_no_run(
    worker: MarketData, objects: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "root", "s3://nosuch/klines")
    result = worker(
        "worker", CELERY_BROKER_URL=GONE.format(port=free_ports(1)[0]), AWS_ENDPOINT_URL=objects, **BUCKET_VARIABLES
    )
    assert result.exit_code == 3, result.output
    assert "the bucket does not exist" in result.stderr
    assert "MARKET_DATA_DIR" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_worker_takes_no_run_before_its_bucket_answers(
    worker: MarketData, tmp_path: Path, postgres: str, objects: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link("127.0.0.1", int(objects.rpartition(":")[2]))
    monkeypatch.setattr(worker, "root", f"s3://{BUCKET}/worker")
    with ExitStack() as stack:
        stack.callback(link.cut)
        url, name = stack.enter_context(broker_queue("rabbitmq"))
        write_home(tmp_path / "home", postgres, name)
        link.cut()
        away = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{link.port}", **BUCKET_VARIABLES}
        lines = stack.enter_context(lines_of(worker, url, **away))
        assert "does not answer; this worker waits for it, and takes no runs" in lines.get(timeout=60)
        link.mend()
        assert "takes runs of the queue" in lines.get(timeout=60)
