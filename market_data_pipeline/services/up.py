"""`market-data up`: the Dagster UI, its daemon, the project's code and the HTTP API as one command.

Belongs here: which processes these are, and in which order they begin and end. Does not belong here: keeping a process
alive (`supervising`), what the processes do.
The code has a server of its own, which webserver and daemon share: a daemon that starts one for itself starts another
each minute, and live mode would lose its datasets to the one before.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.dataset import parse_market, parse_pair
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.instance.names import LOCATION, LOCATION_MODULE
from market_data_pipeline.services.addresses import Address, free_port
from market_data_pipeline.services.supervisor import MARK, Keeper, Service, Stopped, asked_to_stop, end_marked
from market_data_pipeline.settings import Settings

Say = Callable[[str], None]

_START_WITHIN_S = 180
# Docker kills a container 10 s after it was told to stop: without runs in flight all of it takes less.
_ASK_S, _END_RUNS_WITHIN_S = 4, 40


@dataclass(frozen=True, slots=True)
class UpRequest:
    """Where the HTTP API and the Dagster UI are to listen, and where browsers find the latter if they are elsewhere."""

    api: Address
    dagster: Address
    public_dagster_url: str | None = None


def up(settings: Settings, request: UpRequest, *, say: Say, warn: Say) -> None:
    """Run everything until Ctrl-C or SIGTERM; then end runs in flight, and everything.

    Args:
        settings: the data root and the Dagster home.
        request: where to listen.
        say: told what is coming up and where.
        warn: told of each process that dies, in one line.

    Raises:
        UsageError: a port is taken, another `up` runs on the same Dagster home, or a setting is not right.
        StoreError: the Dagster home or the folder of the logs cannot be written.
        ServiceFailed: a process cannot be started at all.
    """
    _check(settings)
    try:
        _run(settings, request, say, warn)
    except OSError as error:
        where = error.filename or settings.home
        raise StoreError(
            f"cannot write to {where}: {error.strerror}; own it, or set DAGSTER_HOME and LOG_DIR to folders you own"
        ) from error


def _run(settings: Settings, request: UpRequest, say: Say, warn: Say) -> None:
    home = settings.home
    prepare_home(home)
    settings.logs.mkdir(parents=True, exist_ok=True)
    environment = _environment(home, request)
    with _alone(home) as left_behind, asked_to_stop() as stopping:
        if left_behind:
            _clear_up(home, environment, warn)
        request.api.refuse_if_taken()
        request.dagster.refuse_if_taken()
        say(f"starting; logs go to {settings.logs}")
        keeper = Keeper(environment, settings.logs, stopping, warn)
        try:
            _bring_up(keeper, home, request, say)
            keeper.watch()
        except Stopped:
            say("stopping; runs in flight are ended first ...")
        finally:
            _bring_down(keeper, home, environment, warn)


def _check(settings: Settings) -> None:
    """Look now at what the code server would die of later."""
    parse_market(settings.market_type)
    parse_pair(settings.symbol)
    parse_zone(settings.align_tz)


def _environment(home: Path, request: UpRequest) -> dict[str, str]:
    passed_on = dict(os.environ)  # noqa: TID251 - not read, only passed on
    beside = [name for name in (passed_on.get("no_proxy"), passed_on.get("NO_PROXY")) if name]
    return passed_on | {
        "DAGSTER_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        # The processes talk to each other, and no proxy of a company stands between them.
        "no_proxy": ",".join([*beside[:1], "127.0.0.1", "localhost", request.dagster.host]),
        MARK: str(home),
    }


def _bring_up(keeper: Keeper, home: Path, request: UpRequest, say: Say) -> None:
    code = Address("127.0.0.1", free_port())
    workspace = _workspace(home, code)
    keeper.start(_code_server(code), _api(request))
    # Those that find no code server when they begin fill their logs with errors.
    keeper.watch(lambda: code.answers, _START_WITHIN_S)
    keeper.start(_webserver(workspace, request.dagster), _daemon(workspace))
    keeper.watch(lambda: request.dagster.answers and request.api.answers, _START_WITHIN_S)
    say(f"browse and HTTP API  {request.api.url}")
    say(f"Dagster UI           {request.dagster.url}")
    say("Ctrl-C stops all of it.")


def _workspace(home: Path, code: Address) -> Path:
    """The file that tells webserver and daemon where the code server is; JSON is YAML."""
    server = {"host": code.host, "port": code.port, "location_name": LOCATION}
    path = home / "up-workspace.yaml"
    path.write_text(json.dumps({"load_from": [{"grpc_server": server}]}), encoding="utf-8")
    return path


def _code_server(code: Address) -> Service:
    where = ("--host", code.host, "--port", str(code.port), "--location-name", LOCATION)
    how = ("--use-python-environment-entry-point", "--inject-env-vars-from-instance")
    arguments = ("-m", "dagster", "code-server", "start", "-m", LOCATION_MODULE, *where, *how)
    # The server starts another one, `api grpc`, which has the code, and does not notice when that one dies.
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


def _bring_down(keeper: Keeper, home: Path, environment: dict[str, str], warn: Say) -> None:
    """End what begins runs, then the runs, then the code server that has them; whatever happens, no process stays."""
    try:
        keeper.end("api", "daemon", "webserver", within_s=_ASK_S)
        _end_runs(environment, warn)
        keeper.end("code-server", within_s=_ASK_S)
    finally:
        end_marked(str(home), within_s=_ASK_S)


def _clear_up(home: Path, environment: dict[str, str], warn: Say) -> None:
    """End what an `up` left behind that was killed."""
    warn("the last `up` here was killed; ending what it left behind ...")
    end_marked(str(home), within_s=_ASK_S)
    _end_runs(environment, warn)


def _end_runs(environment: dict[str, str], warn: Say) -> None:
    command = [sys.executable, "-m", "market_data_pipeline.instance.runs_in_flight"]
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_END_RUNS_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        warn("runs in flight could not be ended in time; the UI may show them as started")
        return
    if ended.returncode:
        why = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        warn(f"runs in flight could not be ended, the UI may show them as started: {why}")


@contextmanager
def _alone(home: Path) -> Iterator[bool]:
    """Be the only `up` of a Dagster home; true if the last one was killed.

    Raises:
        UsageError: another one runs.
    """
    lock, note = FileLock(home / ".up.lock"), home / ".up.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"{_holder(note)} already runs on {home}; stop it, or set DAGSTER_HOME and other ports for a second one"
        ) from None
    try:
        left_behind = note.exists()
        note.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")
        yield left_behind
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _holder(note: Path) -> str:
    # The holder may be about to write its note, or to let go.
    with suppress(OSError, ValueError, KeyError, TypeError):
        held = json.loads(note.read_bytes())
        return f"`market-data up` (process {held['pid']} on {held['host']})"
    return "another `market-data up`"
