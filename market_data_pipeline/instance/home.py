"""The Dagster home, a folder. `python -m market_data_pipeline.instance.home` creates it and prints its path.

Belongs here: creating the folder with the project's `dagster.yaml`, its id, the lock of those who create what is in it.
Does not belong here: the databases (`databases`), the instance itself (`runs`).
"""

import glob
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from market_data_pipeline.core.errors import MarketDataError, StoreUnavailable, UsageError
from market_data_pipeline.core.store.atomic import beside_writers, write_whole
from market_data_pipeline.core.text import one_line, problem_text

INSTANCE_FILE = "dagster.yaml"
UP_LOCK = ".up"
"""The name of the lock of the `up` that runs on the home, without its ending."""
RUN_DATABASE = Path("history", "runs.db")
"""Dagster's SQLite database of runs and of the daemon's heartbeats."""
EVENT_INDEX = Path("history", "runs", "index.db")
"""The index of Dagster's SQLite event log; a home with another storage has none."""
_ID_FILE = "home.id"
# Before 0.2 the storage class was in the first module, which the dagster.yaml of an older home names.
_OLD_STORAGE, _STORAGE = b"market_data_pipeline.dagster_event_log", b"market_data_pipeline.instance.storage"
_LONGEST_WAIT_S = 120
_WRONG = 2
_WRONG_CONFIG = "DagsterInvalidConfigError"
_UNSET, _MOST_CHARACTERS = re.compile(r'environment variable "(\w+)" which is not set'), 300


def require_found(home: Path) -> None:
    """Raise UsageError if Dagster would not find a `dagster.yaml` in the folder, and silently take its defaults."""
    # It is looked for by `dagster._utils.yaml_utils.load_yaml_from_globs`.
    if glob.escape(str(home)) != str(home):
        raise UsageError(
            f"{home} cannot be the Dagster home, as Dagster takes `*`, `?` and `[` in its path for a pattern; "
            "set DAGSTER_HOME to another folder"
        )


def prepare_home(home: Path) -> None:
    """Create the folder and copy the project's `dagster.yaml` into it, unless they exist.

    A `dagster.yaml` of an older version gets the present name of the storage class.

    Raises:
        UsageError: Dagster would not find a `dagster.yaml` in the folder.
        StoreUnavailable: the folder cannot be written.
    """
    require_found(home)
    try:
        home.mkdir(parents=True, exist_ok=True)
        content = _content(home)
        if content is None or _OLD_STORAGE in content:
            with alone(home):
                content = _content(home)
                new = _template().read_bytes() if content is None else content.replace(_OLD_STORAGE, _STORAGE)
                write_whole(home / INSTANCE_FILE, new)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot write to {home}: {error.strerror}; set DAGSTER_HOME to a folder you own"
        ) from error


def id_of(home: Path) -> str:
    """The id of the home, by which hosts with one database and a home each know whose run it is.

    Raises:
        StoreUnavailable: the folder cannot be written.
    """
    path = home / _ID_FILE
    try:
        if not path.exists():
            with alone(home):
                if not path.exists():
                    write_whole(path, uuid.uuid4().hex.encode())
        return beside_writers(path.read_bytes).decode("ascii")
    except OSError as error:
        raise StoreUnavailable(
            f"cannot use {path}: {error.strerror}; make it readable and its folder writable"
        ) from error


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Be the only process that creates files in the home while the block runs.

    Raises:
        StoreUnavailable: another process has been doing that for two minutes.
    """
    from market_data_pipeline.core.store.note_lock import NoteLock  # a home that is ready needs no lock

    lock = NoteLock(home, ".creating", "a command that creates the Dagster home")
    if not lock.acquire(within_s=_LONGEST_WAIT_S):
        raise StoreUnavailable(
            f"{home} is not ready after {_LONGEST_WAIT_S} s: {lock.holder()} holds {home / '.creating.lock'}; end that "
            "process, and run the same command again"
        )
    try:
        yield
    finally:
        lock.release()


def refusal_of_settings(home: Path, error: BaseException) -> UsageError | None:
    """What to correct if Dagster could not read `dagster.yaml`, or its Postgres refuses; None for any other error."""
    import yaml  # only for an error

    from market_data_pipeline.core.sources.budgets.engine import WHAT_TO_CHECK, is_set_wrong

    cause: BaseException | None = error
    while cause and not (
        is_set_wrong(cause) or isinstance(cause, yaml.YAMLError) or type(cause).__name__ == _WRONG_CONFIG
    ):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    if is_set_wrong(cause):
        reason = one_line(str(getattr(cause, "orig", cause)), _MOST_CHARACTERS)
        return UsageError(f"the Dagster instance of {home} cannot be opened: {reason}; {WHAT_TO_CHECK}")
    # Dagster prints the whole schema of the config before it says what is wrong.
    errors: Any = getattr(cause, "errors", None)
    text = str(errors[0].message if errors else cause)
    if unset := _UNSET.search(text):
        return UsageError(f"{home / INSTANCE_FILE} takes a setting from {unset[1]}, which is not set; set it")
    return UsageError(f"{home / INSTANCE_FILE} cannot be used: {one_line(text, _MOST_CHARACTERS)}; correct it")


def _content(home: Path) -> bytes | None:
    try:
        return beside_writers((home / INSTANCE_FILE).read_bytes)
    except FileNotFoundError:
        return None


def _template() -> Path:
    """The project's `dagster.yaml`: in the folder of an installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    return next(path / INSTANCE_FILE for path in (package, package.parent) if (path / INSTANCE_FILE).exists())


def _print_home() -> int:
    from market_data_pipeline.settings import load

    try:
        home = load().home
        prepare_home(home)
    except (MarketDataError, OSError) as error:
        sys.stderr.write(f"error: {problem_text(error)}\n")
        return _WRONG
    sys.stdout.write(f"{home}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_print_home())
