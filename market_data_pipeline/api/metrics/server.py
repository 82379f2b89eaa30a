"""`/metrics` of a process that serves nothing else: live mode in a terminal, a code server, a worker.

Belongs here: listening at MARKET_DATA_METRICS_ADDRESS. Does not belong here: the API, which has the route itself.

The first process of a machine that is told to listens, and shows what all processes of the machine have counted. When
it ends, the next one listens. So one setting serves a code server with its runs, live mode, and any worker.
"""

import errno
import logging
import os
import socket
import sys
import threading

from market_data_pipeline.settings import Settings

_TRIED_EVERY_S = 5.0
_LOOPBACK = ("127.0.0.1", "localhost")
_log = logging.getLogger(__name__)
_lock = threading.Lock()
_begun_in_pid = 0


def serve_metrics(settings: Settings) -> None:
    """Serve `/metrics` in a thread while this process lives, if the settings say where; a second call does nothing."""
    global _begun_in_pid
    with _lock:
        # A forked process has no thread of its parent.
        if settings.market_data_metrics_address is None or _begun_in_pid == os.getpid():
            return
        _begun_in_pid = os.getpid()
    threading.Thread(target=_serve_in_turn, args=(settings,), name="metrics", daemon=True).start()


def _serve_in_turn(settings: Settings) -> None:
    host, _, port = (settings.market_data_metrics_address or "").rpartition(":")
    told = 0
    while True:
        try:
            with _listening(host.strip("[]") or _LOOPBACK[0], int(port)) as listener:
                _serve(settings, listener, any_host=bool(host) and host not in _LOOPBACK)
        except (OSError, OverflowError) as error:
            number = getattr(error, "errno", None) or -1
            # Where the port is taken, another process serves the same counts.
            if number not in {told, errno.EADDRINUSE}:
                told = number
                _log.warning("cannot serve /metrics at %s: %s", settings.market_data_metrics_address, error)
        except Exception:
            _log.exception("/metrics is not served any more")
            return
        threading.Event().wait(_TRIED_EVERY_S)


def _listening(host: str, port: int) -> socket.socket:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port that was closed a moment ago counts as free. On Windows this option would share a port in use.
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def _serve(settings: Settings, listener: socket.socket, *, any_host: bool) -> None:
    # Imported where the port is this process's: runs beside a code server have no use for a server.
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from market_data_pipeline.api.metrics.page import MEDIA_TYPE, metrics_of_host

    page = metrics_of_host(settings)

    def metrics(request: Request) -> Response:
        return Response(page.text(), media_type=MEDIA_TYPE)

    # As the API: who listens on this machine only is called by its names only.
    guard = Middleware(TrustedHostMiddleware, allowed_hosts=["*"] if any_host else list(_LOOPBACK))
    app = Starlette(routes=[Route("/metrics", metrics)], middleware=[guard])
    # Without a configuration of its own for logs, which would replace that of Dagster.
    config = uvicorn.Config(
        app, ws="none", log_config=None, access_log=False, server_header=False, lifespan="off", timeout_keep_alive=5
    )
    uvicorn.Server(config).run(sockets=[listener])
