"""`market-data up`: the Dagster UI, its daemon, the project's code and the HTTP API as one command.

Belongs here: which processes these are, and in which order they begin and end. Does not belong here: keeping a process
running (`supervisor`), what the processes do.
Webserver and daemon share one code server. A daemon without one starts another each minute, and live mode would lose
its datasets to the one before.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from market_data_pipeline.core.errors import StoreUnavailable, UsageError
from market_data_pipeline.core.klines.dataset import parse_market
from market_data_pipeline.core.klines.pair import pair_by_rule, parse_pair
from market_data_pipeline.core.store.layout import DATASET_FILE, dataset_folder
from market_data_pipeline.core.store.storage.places import hurried, storage_of
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.instance.names import LOCATION, LOCATION_MODULE
from market_data_pipeline.services.addresses import Address, free_port
from market_data_pipeline.services.lock import exclusive
from market_data_pipeline.services.marks import MARK, end_marked
from market_data_pipeline.services.process import Service
from market_data_pipeline.services.signals import set_on_stop
from market_data_pipeline.services.supervisor import StopRequested, Supervisor
from market_data_pipeline.settings import Settings

Print = Callable[[str], None]

_START_WITHIN_S = 180
_PIECE = "DAGSTER_UI_EVENT_LOAD_CHUNK_SIZE"
# Docker kills a container 10 s after it asked it to stop. Without runs in flight, stopping takes less than that.
_END_WITHIN_S, _END_RUNS_WITHIN_S = 4, 40


@dataclass(frozen=True, slots=True)
class UpRequest:
    """Where the HTTP API and the Dagster UI listen.

    `public_dagster_url` is where browsers find the Dagster UI, if that is another address.
    """

    api: Address
    dagster: Address
    public_dagster_url: str | None = None


def up(settings: Settings, request: UpRequest, *, say: Print, warn: Print) -> None:
    """Run everything until Ctrl-C or SIGTERM, then end the runs in flight and all processes.

    Args:
        settings: the data root and the Dagster home.
        request: where to listen.
        say: called with each line on what starts and where it listens.
        warn: called with one line for each process that dies.

    Raises:
        UsageError: a port is taken, another `up` runs on the same Dagster home, or a setting has a wrong value.
        StoreUnavailable: the Dagster home or the folder of the logs cannot be written.
        ServiceFailed: a process cannot be kept running.
    """
    try:
        _run(settings, request, say, warn)
    except BrokenPipeError:  # of `say` or `warn`
        raise
    except OSError as error:
        where = error.filename or settings.home
        raise StoreUnavailable(
            f"cannot write to {where}: {error.strerror}; "
            "make it writable, or set DAGSTER_HOME and LOG_DIR to folders that you own"
        ) from error


def _run(settings: Settings, request: UpRequest, say: Print, warn: Print) -> None:
    home, stopping = settings.home, threading.Event()
    prepare_home(home)
    settings.logs.mkdir(parents=True, exist_ok=True)
    environment = _environment(home, request)
    with exclusive(home) as last_was_killed, set_on_stop(stopping):
        if last_was_killed:
            _end_leftovers(home, environment, warn)
        request.api.require_free()
        request.dagster.require_free()
        say(f"starting; logs are written to {settings.logs}")
        if missing := _missing_default(settings):
            warn(missing)
        supervisor = Supervisor(environment, settings.logs, stopping, warn)
        try:
            _start(supervisor, home, request, say)
            # Beside it, as the database may hang. Live sensors end such runs themselves.
            say_less = partial(_warn_until, stopping, warn)
            threading.Thread(
                target=_end_runs, args=(environment, say_less, "--of-killed-commands"), daemon=True
            ).start()
            supervisor.watch()
        except StopRequested:
            say("stopping; ending runs in flight first ...")
        finally:
            _stop(supervisor, home, environment, warn)


def _missing_default(settings: Settings) -> str | None:
    """Why the code location has no default dataset, in one line; None if it has one, or if nobody can tell now."""
    market = parse_market(settings.market_type)
    named = parse_pair(settings.symbol, has_contracts=market.has_contracts)
    path = dataset_folder(hurried(settings.root), market, named) / DATASET_FILE
    try:
        if storage_of(path).exists(path):
            return None
    except OSError:  # of an object store or a disk that is away, as all that starts here says itself
        return None
    try:
        pair_by_rule(named)
    except UsageError:
        return (
            f"warning: SYMBOL={settings.symbol} is no pair that the {market} market is known to have, so there is no "
            "default dataset; set SYMBOL to BASE/QUOTE, or load it with market-data backfill and start again"
        )
    return None


def _environment(home: Path, request: UpRequest) -> dict[str, str]:
    inherited = dict(os.environ)  # noqa: TID251 - not read, only passed on
    no_proxy = [name for name in (inherited.get("no_proxy"), inherited.get("NO_PROXY")) if name]
    return inherited | {
        "DAGSTER_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        # What they print is read as UTF-8, which on Windows is not what they print by themselves.
        "PYTHONIOENCODING": "utf-8:replace",
        # Events of a run that the UI gets at once: a page waits for the first of them. Dagster's default is 1,000.
        _PIECE: inherited.get(_PIECE, "200"),
        # The processes talk to each other directly, even where a proxy is set.
        "no_proxy": ",".join([*no_proxy[:1], "127.0.0.1", "localhost", request.dagster.host]),
        MARK: str(home),
    }


def _start(supervisor: Supervisor, home: Path, request: UpRequest, say: Print) -> None:
    code = Address("127.0.0.1", free_port())
    workspace = _workspace(home, code)
    supervisor.start(_code_server(code), _api(request))
    # Webserver and daemon fill their logs with errors if they start before the code server listens.
    supervisor.watch(lambda: code.accepts_connections, _START_WITHIN_S)
    supervisor.start(_webserver(workspace, request.dagster), _daemon(workspace))
    supervisor.watch(lambda: request.dagster.accepts_connections and request.api.accepts_connections, _START_WITHIN_S)
    say(f"browse and HTTP API  {request.api.url}")
    say(f"Dagster UI           {request.dagster.url}")
    say("Ctrl-C stops all of it.")


def _workspace(home: Path, code: Address) -> Path:
    """Write the workspace file, by which webserver and daemon find the code server; JSON is valid YAML."""
    server = {"host": code.host, "port": code.port, "location_name": LOCATION}
    path = home / "up-workspace.yaml"
    path.write_text(json.dumps({"load_from": [{"grpc_server": server}]}), encoding="utf-8")
    return path


def _code_server(code: Address) -> Service:
    where = ("--host", code.host, "--port", str(code.port), "--location-name", LOCATION)
    how = ("--use-python-environment-entry-point", "--inject-env-vars-from-instance")
    arguments = ("-m", "dagster", "code-server", "start", "-m", LOCATION_MODULE, *where, *how)
    # It starts a second server, `api grpc`, which has the code, and does not notice when that one dies.
    return Service("code-server", arguments, worker="grpc")


def _webserver(workspace: Path, dagster: Address) -> Service:
    where = ("-h", dagster.host, "-p", str(dagster.port))
    return Service("webserver", ("-m", "dagster_webserver", "-w", str(workspace), *where))


def _daemon(workspace: Path) -> Service:
    return Service("daemon", ("-m", "dagster._daemon", "run", "-w", str(workspace)))


def _api(request: UpRequest) -> Service:
    where = ("--host", request.api.host, "--port", str(request.api.port), "--dagster-url", request.dagster.url)
    public = ("--public-dagster-url", request.public_dagster_url) if request.public_dagster_url else ()
    return Service("api", ("-m", "market_data_pipeline", "serve", *where, *public))


def _stop(supervisor: Supervisor, home: Path, environment: dict[str, str], warn: Print) -> None:
    """End the services that start runs, then the runs, then the code server that the runs need, then what is left."""
    try:
        supervisor.end("api", "daemon", "webserver", within_s=_END_WITHIN_S)
        _end_runs(environment, warn)
        supervisor.end("code-server", within_s=_END_WITHIN_S)
    finally:
        end_marked(str(home), within_s=_END_WITHIN_S)


def _end_leftovers(home: Path, environment: dict[str, str], warn: Print) -> None:
    """End the processes and runs of an `up` that was killed."""
    warn("the last `up` here was killed; ending the processes and runs that it left ...")
    end_marked(str(home), within_s=_END_WITHIN_S)
    _end_runs(environment, warn)


def _warn_until(stopping: threading.Event, warn: Print, line: str) -> None:
    # Ctrl-C ends what was started beside, too, which is no news then.
    if not stopping.is_set():
        warn(line)


def _end_runs(environment: dict[str, str], warn: Print, *which: str) -> None:
    command = [sys.executable, "-m", "market_data_pipeline.instance.runs_in_flight", *which]
    try:
        ended = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_END_RUNS_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        warn("runs in flight could not be ended in time; the UI may show them as started")
        return
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        warn(f"runs in flight could not be ended, the UI may show them as started: {reason}")
