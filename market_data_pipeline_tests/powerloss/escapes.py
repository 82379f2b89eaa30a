"""`python -m market_data_pipeline_tests.powerloss.escapes`: changes of files that the recorder was not told of.

Belongs here: what Python itself notes of opened, renamed and removed files, compared with the calls of the store. It
notes for as long as the process lives, so this is a program of its own. Does not belong here: files that code beside
Python writes; those would be found as differences of trees (`replaying.recorded`).
"""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from market_data_pipeline.core.store.disk.calls import Call, Kind, told
from market_data_pipeline_tests.powerloss import scenarios
from market_data_pipeline_tests.powerloss.replaying import recorded
from market_data_pipeline_tests.powerloss.trees import is_lock

_WRITES = os.O_WRONLY | os.O_RDWR
_EVENTS = {
    "os.rename": {Kind.RENAMED},
    "os.remove": {Kind.REMOVED},
    "os.mkdir": {Kind.FOLDER_MADE},
    "os.truncate": {Kind.CUT},
    "open": {Kind.OPENED, Kind.EMPTIED},
    "os.rmdir": {Kind.TREE_REMOVED},
    "os.link": set(),
    "os.symlink": set(),
}


def main() -> int:
    noted: list[tuple[str, str]] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS or not isinstance(arguments[0], str | Path):
            return
        # Whoever takes a lock makes sure that its folder is there, which is no change.
        is_change = not Path(arguments[0]).is_dir() if event == "os.mkdir" else True
        if is_change and (event != "open" or arguments[2] & _WRITES):
            noted.append((event, os.fspath(arguments[0])))

    sys.addaudithook(note)
    for name in scenarios.ALL:
        with tempfile.TemporaryDirectory(prefix="power-loss-") as made:
            calls: list[Call] = []
            with told(calls.append):
                recorded(name, Path(made), begins=noted.clear)
                escaped = sorted(set(_escaped(noted, calls, Path(made) / "undisturbed")))
            print(f"{name}: {len(calls)} calls, {len(noted)} noted, {len(escaped)} escaped {escaped}")
            if escaped or not calls:
                return 1
    return 0


def _escaped(noted: list[tuple[str, str]], calls: list[Call], root: Path) -> Iterator[str]:
    known = {(call.kind, str(call.path)) for call in calls}
    for event, path in noted:
        if not path.startswith(f"{root}/") or is_lock(path) or _is_folder(event, path):
            continue
        if not any((kind, path) in known for kind in _EVENTS[event]):
            yield f"{event} {path.removeprefix(str(root))}"


def _is_folder(event: str, path: str) -> bool:
    """True for a file without a name in a folder, by which it is tried whether the folder takes files."""
    try:
        return event == "open" and stat.S_ISDIR(Path(path).stat().st_mode)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
