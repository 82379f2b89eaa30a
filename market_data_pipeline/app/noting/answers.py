"""Answers of this user's commands, each good for as long as nothing has changed that it depends on.

Belongs here: the files that keep them. Does not belong here: what is answered (`app.noting.status`, `cli.shell`).

An answer depends on files and folders of this machine, which it names with their times, on environment variables, and
on the version of this package. It is kept only if all of these were as they are for some seconds: a change within the
resolution of a file system's clock would leave no trace. Only small modules are imported here: the answer is worth
keeping because the imports that find it out take longer than all else.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

Stamp = tuple[str, int | None, int, int]
"""A path, when it was last written (ns; None if there is nothing), its size and its inode."""

_SETTLED_S = 3.0
# It has the version, and each installation writes it anew.
_PACKAGE = Path(__file__).parents[2] / "__init__.py"
_VARIABLES_FILE = "variables.json"
# Each user of several data roots has some.
_MOST_FILES = 20
_MOST_BYTES = 50_000_000


def stamps_of(paths: Iterable[Path]) -> list[Stamp]:
    """What the paths look like now, files and folders."""
    return [_stamp(str(path)) for path in paths]


def kept(question: str) -> Any | None:
    """The answer to this question, None if there is none that is still good."""
    folder = _folder()
    if folder is None:
        return None
    with suppress(OSError, ValueError, TypeError, KeyError):
        names = json.loads(_read(folder / _VARIABLES_FILE))
        content = json.loads(_read(folder / _name(question, names)))
        if all(list(_stamp(stamp[0])) == stamp for stamp in content["depends"]):
            return content["answer"]
    return None


def keep(question: str, answer: Any, depends: Sequence[Stamp], variables: Iterable[str]) -> None:
    """Keep an answer, if what it depends on has been the same for a while. A disk that takes no file keeps none.

    Args:
        question: what was asked.
        answer: what `json` can write.
        depends: how the files and folders looked before the answer was found out.
        variables: the names of the environment variables that it depends on.
    """
    folder = _folder()
    latest_ns = (time.time() - _SETTLED_S) * 1e9
    if folder is None or any((stamp[1] or 0) > latest_ns for stamp in depends):
        return
    if [_stamp(stamp[0]) for stamp in depends] != list(depends):
        return
    names = sorted(variables)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / _VARIABLES_FILE, names)
        _write(folder / _name(question, names), {"depends": depends, "answer": answer})
        _remove_old(folder)


def _folder() -> Path | None:
    try:
        return user_state_path("market_data_pipeline", appauthor=False) / "answers"
    except RuntimeError:  # a user without a home
        return None


def _name(question: str, names: Sequence[str]) -> str:
    """The name of the file of a question, with these variables as they are."""
    values = _environment()
    asked = [_stamp(str(_PACKAGE)), sys.version, question, {name: values.get(name) for name in names}]
    return f"{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]}.json"


def _environment() -> Mapping[str, str]:
    """The environment; settings are read whatever the case of their names."""
    return {name.upper(): value for name, value in os.environ.items()}


def _stamp(path: str) -> Stamp:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return path, None, 0, 0
    return path, found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)


def _write(path: Path, content: Any) -> None:
    # Whole or not at all; what a power cut takes is found out anew.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_bytes(json.dumps(content).encode())
    unfinished.replace(path)


def _remove_old(folder: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in [path for path in files if path.name != _VARIABLES_FILE][_MOST_FILES:]:
        path.unlink(missing_ok=True)
