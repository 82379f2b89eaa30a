"""What Dagster needs besides its storage: the daemon, and where runs go to workers, the broker and the workers.

Belongs here: whether the daemon has written a heartbeat lately, whether the broker takes connections, whether workers
answer. Does not belong here: the storage (`storage`), the webserver (`api.health`). Dagster is not imported.
"""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from market_data_pipeline.app.doctor.lines import Line
from market_data_pipeline.app.doctor.secrets import Secrets, passwords_of
from market_data_pipeline.app.doctor.storage import LATE, SECTION, database
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.sources.budgets.engine import WHAT_TO_CHECK, is_set_wrong
from market_data_pipeline.core.store.note_lock import NoteLock
from market_data_pipeline.core.text import count_text, one_line
from market_data_pipeline.instance.budgets import postgres_url
from market_data_pipeline.instance.home import INSTANCE_FILE, RUN_DATABASE, UP_LOCK
from market_data_pipeline.settings import Settings, variable

# Dagster's daemon writes a heartbeat each 30 s; `up` starts it within a minute.
_LATE_S, _STARTING_S = 300, 120
_BROKER_WITHIN_S, _PING_WITHIN_S = 2.0, 1.5
_MOST_CHARACTERS = 300
_LAUNCHER = "market_data_pipeline.instance.workers.launcher"
_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}
_BROKER_CURE = "start the broker, or correct broker in dagster.yaml, or CELERY_BROKER_URL if that names it"


def processes(settings: Settings) -> Iterator[Line]:
    """A line for the daemon where it runs, ran or is needed, and for broker and workers where runs go to them."""
    try:
        document = yaml.safe_load((settings.home / INSTANCE_FILE).read_bytes())
    except (OSError, yaml.YAMLError):  # told by `storage`
        return
    launcher = document.get("run_launcher") if isinstance(document, Mapping) else None
    yield from _daemon(settings.home, has_launcher=bool(launcher))
    if isinstance(launcher, Mapping) and launcher.get("module") == _LAUNCHER:
        yield from _workers(launcher.get("config") or {})


def _daemon(home: Path, *, has_launcher: bool) -> Iterator[Line]:
    url = None
    try:
        url = postgres_url(home)
        with database(home, url, RUN_DATABASE) as connection:
            last, queued = (None, 0) if connection is None else _seen(connection)
    except (MarketDataError, sa.exc.SQLAlchemyError, OSError) as error:
        text = Secrets(passwords_of(url)).without(str(getattr(error, "orig", None) or error))
        cure = WHAT_TO_CHECK if is_set_wrong(error) else LATE
        yield Line(SECTION, "daemon", f"not looked at: {one_line(text, _MOST_CHARACTERS)}", cure)
        return
    late_s = None if last is None else time.time() - last.timestamp()
    seen = "no heartbeat yet" if last is None else f"last heartbeat at {iso(round(last.timestamp() * 1000))}"
    if late_s is not None and late_s <= _LATE_S:
        yield Line(SECTION, "daemon", seen)
        return
    is_up = NoteLock(home, UP_LOCK, "").held_by() is not None
    if is_up and _since_s(home) < _STARTING_S:
        yield Line(SECTION, "daemon", f"{seen}; market-data up is starting it")
    elif is_up:
        yield Line(SECTION, "daemon", f"{seen}, and market-data up runs", "end market-data up, and start it again")
    elif has_launcher or queued:
        waiting = f"; {count_text(queued, 'run')} in the queue" if queued else ""
        cure = "start dagster-daemon with this DAGSTER_HOME" if has_launcher else "start market-data up"
        yield Line(SECTION, "daemon", f"{seen}{waiting}", cure)
    elif last is not None:
        yield Line(SECTION, "daemon", f"{seen}; it does not run, and no run waits for it")


def _seen(connection: sa.Connection) -> tuple[datetime | None, int]:
    """The last heartbeat of a daemon, and how many runs are queued."""
    found = sa.inspect(connection)
    if not (found.has_table("daemon_heartbeats") and found.has_table("runs")):
        return None, 0
    heartbeats = sa.table("daemon_heartbeats", sa.column("timestamp", sa.DateTime()))
    last = connection.scalar(sa.select(sa.func.max(heartbeats.c.timestamp)))
    queued = connection.scalar(sa.text("SELECT count(*) FROM runs WHERE status = 'QUEUED'")) or 0
    return (None if last is None else last.replace(tzinfo=UTC)), queued


def _since_s(home: Path) -> float:
    """How long ago `up` wrote its note, in seconds."""
    try:
        return time.time() - (home / f"{UP_LOCK}.json").stat().st_mtime
    except OSError:
        return 0.0


def _workers(config: Mapping[str, Any]) -> Iterator[Line]:
    """Whether one of the brokers takes connections, then whether workers answer through it."""
    try:
        from kombu.utils.url import url_to_parts

        from market_data_pipeline.instance.workers.broker import require_url, with_checked_certificate
    except ImportError:
        cure = "install the extra [celery], with the wheel of make dist"
        yield Line(SECTION, "broker", "a package for workers is missing", cure)
        return
    broker = config.get("broker")
    url = variable(str(broker.get("env"))) if isinstance(broker, Mapping) else broker
    try:
        require_url(url)
    except MarketDataError as error:
        problem, _, cure = str(error).partition("; ")
        yield Line(SECTION, "broker", problem, cure)
        return
    refused = ""
    for each in str(url).split(";"):
        parts = url_to_parts(each)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme.lower()]
        try:
            with closing(socket.create_connection((host, port), timeout=_BROKER_WITHIN_S)):
                pass
        except OSError as error:
            refused = f"{host}:{port} takes no connection: {error.strerror or error}"
            continue
        yield Line(SECTION, "broker", f"{host}:{port} takes connections")
        yield _ping(with_checked_certificate(each), Secrets(passwords_of(each)))
        return
    yield Line(SECTION, "broker", refused, _BROKER_CURE)


def _ping(url: str, secrets: Secrets) -> Line:
    from celery import Celery

    from market_data_pipeline.instance.workers.broker import broker_failures

    options = {"socket_connect_timeout": _BROKER_WITHIN_S, "socket_timeout": _BROKER_WITHIN_S, "max_retries": 0}
    app = Celery(set_as_current=False)
    app.conf.update(
        broker_read_url=url,
        broker_write_url=url,
        broker_connection_timeout=_BROKER_WITHIN_S,
        broker_transport_options=options,
    )
    try:
        with broker_failures(app), app.connection_for_write() as connection:
            answers = app.control.ping(timeout=_PING_WITHIN_S, connection=connection)
    except MarketDataError as error:
        text, _, cure = secrets.without(str(error)).partition("; ")
        return Line(SECTION, "workers", one_line(text, _MOST_CHARACTERS), cure or _BROKER_CURE)
    names = sorted(name for answer in answers for name in answer)
    if not names:
        return Line(
            SECTION, "workers", f"none answers within {_PING_WITHIN_S:g} s", "start market-data worker on a host"
        )
    answered = f"{count_text(len(names), 'worker')} answered: {', '.join(names)}"
    return Line(SECTION, "workers", one_line(answered, _MOST_CHARACTERS))
