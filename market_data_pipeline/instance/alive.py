"""Which runs of commands are alive: each holds a lock, which the operating system frees when its process ends.

Belongs here: these locks, and the tags by which a run is known to hold one. Does not belong here: what becomes of a run
whose process is gone (`runs`), runs that a code server started, which Dagster watches itself.

Process ids are used again, clocks are set, and a container has another host name at its next start. A lock tells the
truth through all of them, on any file system that has locks.

Hosts that share a database may have a home each, and who has another home sees nothing of the lock. A home in a
container goes with it. So on Postgres the process also writes beats, as those of workers do.
"""

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.instance.budgets import postgres_url
from market_data_pipeline.instance.home import id_of
from market_data_pipeline.instance.workers.beats import Beats

_log = logging.getLogger(__name__)
KILLED = "The process of this run was killed. Finished days are kept; run it again."
# The UI hides tags that begin with `.dagster/`.
PROCESS_TAG, HOME_TAG = ".dagster/market_data_process", ".dagster/market_data_home"
_BEATS_TAG = ".dagster/market_data_beats"
_FOLDER = "running"
_LONGEST_WAIT_S = 10


def alive_tags(home: Path, run_id: str) -> dict[str, str]:
    """The tags of a run that holds its lock in the home. Dagster may copy them to another run, so two have the id."""
    beating = {_BEATS_TAG: run_id} if _beats_of(home) else {}
    return {PROCESS_TAG: run_id, HOME_TAG: id_of(home), **beating}


@contextmanager
def held(home: Path, run_id: str) -> Iterator[None]:
    """Hold the lock of a run while the block runs, and write its beats; the run is created inside it."""
    folder = home / _FOLDER
    folder.mkdir(exist_ok=True)
    path = _path(home, run_id)
    # Another process may hold it for a moment, to see whether it is free.
    lock = FileLock(path, timeout=_LONGEST_WAIT_S)
    try:
        with lock, _beating(home, run_id):
            yield
    finally:
        # Windows has removed it with the lock, or refuses while another process looks; then that one, or the next,
        # removes it.
        with suppress(PermissionError):
            path.unlink(missing_ok=True)


def is_gone(home: Path, run_id: str, tags: Mapping[str, str]) -> bool:
    """True if the run was one of a command with this home, and its process has ended."""
    value = tags.get(PROCESS_TAG, "")
    if value != run_id:
        return _is_gone_by_number(value)
    # Older runs have no tag that names the home.
    if tags.get(HOME_TAG) in {None, id_of(home)}:
        return not _holds(_path(home, run_id))
    return not beats(home, run_id, tags)


def is_of_command(run_id: str, tags: Mapping[str, str]) -> bool:
    """True if a command executes the run."""
    return tags.get(PROCESS_TAG) == run_id


def beats(home: Path, run_id: str, tags: Mapping[str, str]) -> bool:
    """False if the process of a command's run wrote beats to the Postgres of this home, and does so no more."""
    written = _beats_of(home) if tags.get(_BEATS_TAG) == run_id else None
    return written is None or written.is_alive(run_id)


def sweep(home: Path) -> None:
    """Remove the lock files of processes that have ended."""
    for path in (home / _FOLDER).glob("*.lock"):
        _holds(path)


def _beats_of(home: Path) -> Beats | None:
    try:
        url = postgres_url(home)
    except UsageError:  # a provider of tokens: runs of commands have no beats then
        return None
    return Beats(url) if url else None


def _beating(home: Path, run_id: str) -> AbstractContextManager[None]:
    def go_on() -> None:
        _log.warning("run %s was marked as failed while this host was cut off or asleep; it goes on", run_id)

    written = _beats_of(home)
    return written.begin(run_id, go_on) if written else nullcontext()


def _path(home: Path, run_id: str) -> Path:
    return home / _FOLDER / f"{run_id}.lock"


def _holds(path: Path) -> bool:
    """Whether a process holds the lock; if none does, its file is removed."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0), suppress(OSError):
            # While it is held here: after that it may be the lock of a run that begins. Windows removes it with the
            # lock, and not before.
            path.unlink(missing_ok=True)
    except Timeout:
        return True
    return False


def _is_gone_by_number(value: str) -> bool:
    """Whether the process is gone that a tag of version 0.1 names, as `HOST/PID@START`."""
    host, _, process = value.rpartition("/")
    pid = process.partition("@")[0]
    return host == socket.gethostname() and pid.isdecimal() and not psutil.pid_exists(int(pid))
