"""The broker of workers: what is wrong with its setting, and how a worker waits for one that is away.

Belongs here: the URL, the first connection of a worker, and each connection after that. Does not belong here: handing
runs over (`launcher`), executing them (`worker`).

Celery tries again without a pause what RabbitMQ refuses, never gives up what Redis refuses, takes RabbitMQ on this
machine where no URL is given, and writes a line for each try. It takes variables of the environment before what is
written, and kombu does not check the certificate of a `rediss://` whose URL does not ask for it.
"""

import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat

from amqp.exceptions import AccessRefused, AMQPError, NotAllowed, PreconditionFailed
from celery import Celery
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.connection import Connection
from kombu.exceptions import OperationalError
from kombu.utils.url import url_to_parts

from market_data_pipeline.core.errors import Unavailable, UsageError
from market_data_pipeline.core.text import one_line

_log = logging.getLogger(__name__)

_SCHEMES = ("amqp", "amqps", "redis", "rediss")
_WHERE = "broker in dagster.yaml, or CELERY_BROKER_URL if that names it"
_GIVE = f"set {_WHERE}, to amqp://USER:PASSWORD@HOST:5672// of RabbitMQ or redis://:PASSWORD@HOST:6379/0 of Redis"
# With TLS, these say that the server went away, and not that it refuses.
_GONE = ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError
_PAUSES_S = (2, 4, 8, 15)


class BrokerAway(Unavailable):
    """The broker does not answer."""


def require_url(url: str | None) -> None:
    """Refuse a URL, or one of several with `;` between them, that names no RabbitMQ and no Redis.

    Raises:
        UsageError: it is none. The message shows nothing of it, as a password may be anywhere in what is no URL.
    """
    for each in (url or "").split(";"):
        if not each.strip():
            raise UsageError(f"the URL of the broker is empty; {_GIVE}")
        scheme, is_url, _ = each.partition("://")
        if not is_url or scheme.lower() not in _SCHEMES:
            raise UsageError(f"the URL of the broker begins with none of {', '.join(_SCHEMES)}; {_GIVE}")
        try:
            parts = url_to_parts(each)
        except ValueError:
            raise UsageError(
                f"the port of the broker is no number; {_GIVE}, with / ? # @ : of a password as %2F and so on"
            ) from None
        if not parts.hostname:
            raise UsageError(f"the URL of the broker names no host; {_GIVE}")
        if scheme.lower().startswith("redis") and not (parts.path or "0").isdecimal():
            raise UsageError(f"the database of the broker is no number; {_GIVE}")


def with_checked_certificate(url: str) -> str:
    """The URL, or several with `;` between them, where each `rediss://` says what of the certificate is checked."""
    return ";".join(map(_checked, url.split(";")))


def _checked(url: str) -> str:
    if not url.lower().startswith("rediss://") or "ssl_" in url.partition("?")[2]:
        return url
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"


def require_broker(app: Celery) -> None:
    """Refuse a broker that cannot be used as it is set. One that does not answer is waited for later.

    Raises:
        UsageError: its URL is none, or it refuses what the URL or the queue asks for.
    """
    with suppress(BrokerAway), broker_failures(app), app.connection_for_read() as connection:
        _connect(connection)
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()


@contextmanager
def broker_failures(app: Celery) -> Iterator[None]:
    """Raise what keeps the block from using the broker as an error of one line.

    Raises:
        UsageError: its URL is none, or it refuses what the URL or the queue asks for.
        BrokerAway: it does not answer.
    """
    _require_written(app)
    try:
        connection = app.connection_for_read()  # opens nothing; it knows the errors of its transport
    except (TypeError, ValueError) as error:
        raise UsageError(f"the URL of the broker has an option that cannot be used: {_reason_of(error)}") from None
    try:
        yield
    except _failures(connection) as error:
        cause = error.__cause__ if isinstance(error, OperationalError) and error.__cause__ else error
        if _is_refusal(cause):
            problem = f"the broker {shown(connection)} refuses: {_reason_of(cause)}"
            raise UsageError(f"{problem}; correct {_WHERE}, or what the broker lets in") from None
        raise BrokerAway(_away(connection, cause)) from None


def _require_written(app: Celery) -> None:
    """Refuse what is written if it is no URL, or if Celery would take another one.

    Raises:
        UsageError: it is so.
    """
    require_url(app.conf.get("broker_read_url"))
    for kind, used in (("read", app.conf.broker_read_url), ("write", app.conf.broker_write_url)):
        if used != app.conf.get(f"broker_{kind}_url"):
            name = f"CELERY_BROKER_{kind.upper()}_URL"
            raise UsageError(f"{name} names another broker than dagster.yaml, and Celery takes it; unset it")


def shown(connection: Connection) -> str:
    """The address of the broker for people: without its password, and with no sign of one where there is none."""
    address = str(connection.as_uri())
    return address if connection.password else address.replace(":**@", "@", 1).replace("://@", "://", 1)


def _away(connection: Connection, error: BaseException) -> str:
    problem = f"the broker {shown(connection)} does not answer: {_reason_of(error)}"
    is_late = isinstance(error, TimeoutError) or "timeout" in type(error).__name__.lower()
    if is_late and connection.transport_cls in ("amqps", "rediss"):
        return f"{problem}; a port without TLS looks like this, too"
    return problem


def _reason_of(error: BaseException) -> str:
    """What the broker or the network said, in one line."""
    said = error.reply_text if isinstance(error, AMQPError) else None
    return one_line(str(said or error or type(error).__name__), 200)


class WaitingConsumer(Consumer):
    """Celery's consumer, with one line when the broker goes away and one when it is back."""

    def ensure_connected(self, conn: Connection) -> Connection:
        """Connect, however long that takes; a worker that is asked to end leaves the wait."""
        connected = _wait_for(conn, state.maybe_shutdown)
        self.first_connection_attempt = False
        return connected

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let the lost connection go, but let its channel know the broker.

        The runs under way are acknowledged through that channel, which connects to Redis anew for it. kombu takes the
        address away from it. Celery then closes it once more, and the error of that would end the worker.
        """
        lost, transport = self.connection, self.connection.transport
        with suppress(AttributeError):
            super().on_connection_error_after_connected(exc)
        transport.client = lost


def _wait_for(connection: Connection, end_if_asked: Callable[[], None]) -> Connection:
    said: set[str] = set()
    for pause_s in chain(_PAUSES_S, repeat(_PAUSES_S[-1])):
        try:
            _connect(connection)
            break
        except _failures(connection) as error:
            problem, what = _away(connection, error), "does not answer"
            if _is_refusal(error):
                problem, what = f"the broker {shown(connection)} refuses: {_reason_of(error)}", "refuses"
            if what not in said:
                _log.warning("%s; this worker waits for it, and runs under way go on", problem)
            said.add(what)
        for _ in range(pause_s):
            end_if_asked()
            time.sleep(1)
    if said:
        _log.info("the broker %s is there; this worker takes runs", shown(connection))
    return connection


def _connect(connection: Connection) -> None:
    """Try it once."""

    def at_once(error: Exception, _: float) -> None:
        raise error

    try:
        connection.ensure_connection(errback=at_once)
        return
    except OperationalError as error:
        failure = error.__cause__ or error
    raise failure  # out of the handler, which would replace what the failure came from


def _failures(connection: Connection) -> tuple[type[Exception], ...]:
    return (*connection.connection_errors, *connection.channel_errors, OperationalError, OSError)


def _is_refusal(error: BaseException) -> bool:
    from redis.exceptions import AuthenticationError, ResponseError

    refusals = AccessRefused, NotAllowed, PreconditionFailed, AuthenticationError, ResponseError
    return isinstance(error, refusals) or _is_refusal_of_tls(error)


def _is_refusal_of_tls(error: BaseException | None) -> bool:
    """True if the certificate is not accepted, or the port does not speak TLS; redis wraps such an error."""
    seen = list[BaseException]()
    while error is not None and error not in seen:  # an error that is raised again may lead back to itself
        if isinstance(error, ssl.SSLError):
            return not isinstance(error, _GONE)
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False
