"""Whether an object store keeps what the store relies on.

Belongs here: the trial, once for each process and root. Does not belong here: what relies on it (`bucket`, `lease`).

Some servers take the headers of a condition and do not look at them. Then two writers could each replace what the other
has just written, and nobody would notice.
"""

import uuid
from concurrent.futures import ThreadPoolExecutor

from market_data_pipeline.core.errors import StoreUnavailable
from market_data_pipeline.core.store.storage.objects import Objects
from market_data_pipeline.core.store.storage.paths import BucketPath
from market_data_pipeline.core.store.storage.protocol import ANY, Changed, Expected

_RACERS = 8
_proven: set[str] = set()


def require_conditions(objects: Objects, root: BucketPath) -> None:
    """Prove that the bucket takes objects, and refuses those whose condition does not hold.

    Raises:
        StoreUnavailable: it does not.
    """
    if objects.root in _proven:
        return
    path = root / f".probe-{uuid.uuid4().hex}"
    try:
        # A write to a bucket that is not there makes one in SeaweedFS. A look makes none anywhere.
        objects.within(path)
        try:
            problem = _problem(objects, path)
        finally:
            objects.delete(path)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot write to the data root {root}: {error.strerror or error}; check MARKET_DATA_DIR, the bucket and "
            "the credentials"
        ) from error
    if problem:
        raise StoreUnavailable(f"{root} cannot be a data root: {problem}; use an object store with conditional writes")
    _proven.add(objects.root)


def _problem(objects: Objects, path: BucketPath) -> str:
    with ThreadPoolExecutor(_RACERS) as pool:
        won = list(pool.map(lambda racer: _is_written(objects, path, b"%d" % racer, None), range(_RACERS)))
    if sum(won) != 1:
        return f"of {_RACERS} writers of one new object {sum(won)} were told that they wrote it"
    stale = objects.version(path)
    if not _is_written(objects, path, b"newer", stale):
        return "a write whose condition holds was refused"
    if _is_written(objects, path, b"stale", stale):
        return "a write was taken though another one had replaced the version it was for"
    if objects.get(path).content() != b"newer":
        return "what was written is not what is read"
    objects.put(path, b"last", ANY)
    return ""


def _is_written(objects: Objects, path: BucketPath, content: bytes, expected: Expected) -> bool:
    try:
        objects.write(path, content, expected)
    except Changed:
        return False
    return True
