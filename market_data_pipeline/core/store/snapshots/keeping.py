"""The chunks of a dataset that were replaced and that snapshots name, and reading one by its sha256.

Belongs here: keeping a chunk before another takes its place, and whether a snapshot names it. Does not belong here:
when a chunk is replaced (`chunks.publishing`), removing what no snapshot names any more (`removing`).

In a folder the dataset's lock is held while a chunk is replaced and while a snapshot lists the dataset, so that a look
at the snapshots decides. A bucket has no locks. There each chunk of a day that is over is kept before it is replaced,
and after it was, a look at the snapshots decides whether it stays. A snapshot that is made meanwhile is seen by this
look, or has not seen the chunk: it lists again what has changed after its list was written (`making`).
"""

from collections.abc import Iterator
from contextlib import suppress

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunks.encoding import MOST_CHUNK_BYTES
from market_data_pipeline.core.store.chunks.manifest_file import ManifestFile
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import Changed, StorePath


class KeptChunks:
    """The kept chunks of one dataset."""

    def __init__(self, folder: StorePath, dataset: Dataset) -> None:
        """Read nothing yet; `folder` is the dataset's."""
        self._folder, self._dataset = folder, dataset
        self._files = storage_of(folder)
        self._lists: dict[str, ManifestFile] = {}
        self._begun: dict[str, bytes] = {}

    def before_replacing(self, path: StorePath, entry: Entry) -> None:
        """Keep the chunk at this path, with this entry, if a snapshot names it or may be about to."""
        # A day that is not over is in no snapshot.
        if not entry.is_over or not (self._files.is_conditional or self.is_named(entry)):
            return
        try:
            content = self._files.read(path, MOST_CHUNK_BYTES)
        except (FileNotFoundError, ValueError):
            return  # another process was faster, which the write will notice
        if sha256_of(content) == entry.sha256:
            self._keep(entry.sha256, content)
            self._begun[entry.sha256] = content

    def after_replacing(self, entry: Entry | None) -> None:
        """Remove what was kept of the replaced chunk, if there was one, if no snapshot names it."""
        content = self._begun.pop(entry.sha256, None) if entry else None
        if entry is None or content is None or not self._files.is_conditional:
            return
        if self.is_named(entry):
            self._keep(entry.sha256, content)  # it may have been taken for one that nobody names
        else:
            self._files.remove(layout.kept_path(self._folder, entry.sha256))

    def is_named(self, entry: Entry) -> bool:
        """True if a snapshot names the chunk, also one that is being made; or if the list of one cannot be read."""
        return any(found is None or found.get(entry.day) == entry.sha256 for found in self.named())

    def named(self) -> Iterator[dict[str, str] | None]:
        """Of each snapshot that has the dataset the sha256 of its chunks by day; None if its list cannot be read."""
        market, pair = self._dataset.market, self._dataset.pair
        for root in layout.snapshot_folders(layout.root_of(self._folder)):
            path = layout.dataset_folder(root, market, pair) / layout.MANIFEST_FILE
            listed = self._lists.setdefault(root.name, ManifestFile(path, self._dataset))
            problems = list[str]()
            entries = listed.entries(warn=problems.append)
            if problems and not self._files.is_file(root):  # such as notes that a person keeps beside them
                yield None
            elif entries is not None:
                yield {day: entry.sha256 for day, entry in entries.items()}

    def _keep(self, sha256: str, content: bytes) -> None:
        path = layout.kept_path(self._folder, sha256)
        self._files.make_folder(path.parent)
        # Its name says what is in it, so one that is there is the same.
        with suppress(Changed):
            self._files.write(path, content, None)


def read_named(folder: StorePath, current: StorePath | None, sha256: str) -> tuple[bytes, bool]:
    """A chunk by its sha256, and whether it was replaced and kept.

    Args:
        folder: the dataset's.
        current: the chunk that the day has now, None if it has none.
        sha256: of the chunk that is wanted.

    Raises:
        StoreError: it is neither in its place nor kept.
        OSError: the disk or the object store lets nobody read what may be it.
    """
    unread: OSError | None = None
    for path in (current, layout.kept_path(folder, sha256)):
        if path is None:
            continue
        try:
            content = storage_of(path).read(path, MOST_CHUNK_BYTES)
        except (FileNotFoundError, ValueError):
            continue
        except OSError as error:
            unread = error
            continue
        if sha256_of(content) == sha256:
            return content, path is not current
    raise unread or StoreError("the chunk that it names is neither in its place nor kept")
