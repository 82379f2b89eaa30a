"""Where the files of an export go: a folder outside of the store, to which one export at a time writes.

Belongs here: which folders are refused, replacing a file. Does not belong here: what is in the files (the formats), how
a file is replaced (`core.store.atomic`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from market_data_pipeline.core.errors import StoreUnavailable, UsageError
from market_data_pipeline.core.store import atomic
from market_data_pipeline.core.store.storage.places import folder_at
from market_data_pipeline.core.store.storage.protocol import StorePath

LOCK_FILE = ".export.lock"
# A Windows path has one letter before its colon.
_ADDRESS = re.compile(r"\w{2,}:")


def output_at(text: str | Path, root: StorePath) -> Path:
    """The folder that a user names, which need not exist.

    Raises:
        UsageError: it is a file, an address of another kind, a loop of links, or within the data root.
        OSError: its name is too long, or the disk refuses to look.
    """
    if _ADDRESS.match(str(text)):
        raise UsageError(f"cannot export to {text}; give a folder of this machine")
    folder = folder_at(text)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"cannot export to {folder}: it is a file; give a folder")
    try:
        place = folder.resolve()
    except RuntimeError:
        raise UsageError(f"cannot export to {folder}: its links lead in a circle; give another folder") from None
    if isinstance(root, Path) and place.is_relative_to(root.resolve()):
        raise UsageError(f"cannot export to {folder}: it is in the data root {root}; give a folder outside of it")
    return folder


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Make the folder, and keep other exports from it while the block runs.

    Raises:
        StoreUnavailable: another export is writing there.
    """
    from filelock import Timeout  # as in `atomic.lock_of`

    atomic.make_folder(folder)
    try:
        with atomic.lock_of(folder / LOCK_FILE).acquire(timeout=0):
            yield
    except Timeout:
        raise StoreUnavailable(f"another export writes to {folder}; wait for its end, or give another folder") from None


@contextmanager
def replaced(path: Path) -> Iterator[pa.NativeFile]:
    """The file, open to be written in the block. It has its name after the block, and is as it was if that raised."""
    atomic.make_folder(path.parent)
    with atomic.streamed(path) as temporary, pa.OSFile(str(temporary), "wb") as file:
        yield file
