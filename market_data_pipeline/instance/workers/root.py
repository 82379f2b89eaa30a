"""The data root of a worker: whether runs could use it, before the worker takes one.

Belongs here: looking at it, and waiting for one that is away. Does not belong here: what proves it (`core.store`), what
a run does that finds it gone.

The look is in a process of its own: the library for object stores starts threads, and a worker that has some must not
fork the processes of its runs.
"""

import logging
import subprocess
import sys
import time

from market_data_pipeline.core.errors import MarketDataError, StoreUnavailable, UsageError
from market_data_pipeline.core.store.storage.places import root_at, storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.store.storage.refusals import is_lost

_log = logging.getLogger(__name__)
_PAUSE_S = 2
_WRONG, _UNUSABLE, _AWAY = 2, 3, 75


def require_root(root: StorePath) -> None:
    """Refuse a data root that will not take files as it is set. One that does not answer is waited for later.

    Raises:
        UsageError, StoreUnavailable: it will not.
    """
    look = _look_apart(root)
    if look.returncode not in (0, _AWAY):
        raise (UsageError if look.returncode == _WRONG else StoreUnavailable)(_problem(look))


def wait_for_root(root: StorePath) -> None:
    """Wait until the data root takes files, and say once that it does not."""
    said = False
    while (look := _look_apart(root)).returncode:
        if not said:
            _log.warning("%s; this worker waits for it, and takes no runs", _problem(look).partition("; ")[0])
        said = True
        time.sleep(_PAUSE_S)


def _problem(look: "subprocess.CompletedProcess[str]") -> str:
    return (look.stdout or look.stderr).strip().rpartition("\n")[2]


def _look_apart(root: StorePath) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", __name__, str(root)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False)


def _look(address: str) -> int:
    """Write what keeps files out of the data root; the exit code says of what kind it is."""
    try:
        root = root_at(address)
        storage_of(root).require_writable(root)
    except MarketDataError as error:
        sys.stdout.buffer.write(" ".join(str(error).split()).encode())
        if isinstance(error, UsageError):
            return _WRONG
        return _AWAY if error.__cause__ is not None and is_lost(error.__cause__) else _UNUSABLE
    return 0


if __name__ == "__main__":
    sys.exit(_look(sys.argv[1]))
