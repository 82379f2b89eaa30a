"""Which kind of place a path is in.

Belongs here: from an address or a path to its `Storage`. Does not belong here: what the store needs of it (`protocol`).
"""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.store.storage.folder import FOLDER
from market_data_pipeline.core.store.storage.paths import BucketPath
from market_data_pipeline.core.store.storage.protocol import P, Storage, StorePath

if TYPE_CHECKING:
    from market_data_pipeline.core.store.storage.bucket import Bucket


_ADDRESS = re.compile(r"\w+://|(?:s3|gs|az):", re.IGNORECASE)
# Other characters mean something in a URL or a glob, which other programs read the chunks by, or in a folder's name.
_PART = r"(?!\.{1,2}(?:/|$))[\w !$&'(),.;=~-]+"
_BUCKET = re.compile(rf"(?:s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]{{1,254}}(?:/{_PART})*")


def root_at(address: str | Path) -> StorePath:
    """The data root at an address: a folder, which may begin with `~`, or `s3://bucket/prefix`.

    Raises:
        UsageError: there can be no data root.
    """
    text = str(address)
    if not _ADDRESS.match(text):
        return folder_at(address)
    if isinstance(address, Path) or not _BUCKET.fullmatch(text.rstrip("/")):
        # Before an @ there may be a password.
        shown = re.sub(r"//.*@", "//...@", text)
        raise UsageError(
            f"{shown} is no data root; give a folder, or s3://bucket/prefix as text, without credentials; a prefix has "
            "letters, digits, spaces and !$&'(),.;=~_-"
        )
    return BucketPath(text.rstrip("/"))


def folder_at(text: str | Path) -> Path:
    """The folder that a user names, absolute; it may begin with `~`.

    Raises:
        UsageError: there is no such home folder.
    """
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise UsageError(f"{text} cannot be used: there is no such home folder; give an absolute path") from None


def storage_of(path: P) -> Storage[P]:
    """The place of a path.

    Raises:
        TypeError: it is no path of a kind that is known.
    """
    if isinstance(path, Path):
        return cast("Storage[P]", FOLDER)
    if isinstance(path, BucketPath):
        return cast("Storage[P]", _bucket_of(path.root, path.is_hurried))
    raise TypeError(f"{path!r} is no path of the store")


def hurried(root: P) -> P:
    """The same root for a reader, who waits 10 s for an object store that is away, where a load waits 45 s."""
    return replace(root, is_hurried=True) if isinstance(root, BucketPath) else root


def outlived_by_s(root: StorePath) -> float:
    """So long the rights of a process that was killed outlive it, s: not at all where there are locks."""
    if not isinstance(root, BucketPath):
        return 0
    from market_data_pipeline.core.store.storage.session import ENDS_WITHIN_S

    return ENDS_WITHIN_S


@cache
def _bucket_of(root: str, is_hurried: bool) -> "Bucket":
    from market_data_pipeline.core.store.storage.bucket import Bucket
    from market_data_pipeline.core.store.storage.objects import Objects

    return Bucket(Objects(root, is_hurried=is_hurried))
