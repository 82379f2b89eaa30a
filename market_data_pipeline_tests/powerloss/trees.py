"""The files below a data root as a value.

Belongs here: reading them from a folder, writing them into one, and telling equal trees. Does not belong here: which
trees there can be (`cuts`).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

Tree = Mapping[str, bytes | None]
"""By path relative to the data root, with `/`: the content of a file, None for a folder. Lock files are left out."""

_digests: dict[bytes, bytes] = {}


def tree_of(root: Path) -> dict[str, bytes | None]:
    """What is below a folder."""
    found = {path: path.relative_to(root).as_posix() for path in sorted(root.rglob("*"))}
    return {name: path.read_bytes() if path.is_file() else None for path, name in found.items() if not is_lock(name)}


def plant(tree: Tree, root: Path) -> None:
    """Make the folder hold the tree."""
    root.mkdir(parents=True)
    for name, content in sorted(tree.items()):
        path = root / name
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)


def digest_of(tree: Tree) -> str:
    """A text that equal trees have in common and no others."""
    whole = hashlib.sha256()
    for name, content in sorted(tree.items()):
        whole.update(f"{name}\n".encode())
        whole.update(b"/" if content is None else _digest(content))
    return whole.hexdigest()


def is_lock(name: str) -> bool:
    """True for a lock file: it has no content, and after a power cut nobody holds it."""
    return name.endswith(".lock")


def _digest(content: bytes) -> bytes:
    # The same few contents come again in each state.
    if (known := _digests.get(content)) is None:
        known = _digests[content] = hashlib.sha256(content).digest()
    return known
