"""The file `manifest.json` of one dataset: reading it, seldom, and replacing it.

Belongs here: when it is parsed again, writing it beside other processes. Does not belong here: its text (`manifest`),
when it is written, and what may be listed then (`list_writing`).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from market_data_pipeline.core.counting.counts import STORE
from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store import records
from market_data_pipeline.core.store.manifest import Entry, from_text, to_text
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath, Version, again_if_changed

# A chunk has some 400 bytes here, and more where it has flaws.
_MOST_BYTES = 512_000_000


class ManifestFile:
    """The `manifest.json` of one dataset. It is parsed again only when it has changed."""

    def __init__(self, path: StorePath, dataset: Dataset) -> None:
        """Nothing is read yet. A manifest of another dataset is corrupt."""
        self.path = path
        self.dataset = dataset
        self._files = storage_of(path)
        # Of what was found last, and of what was parsed last.
        self._found: Version | None = None
        # Whether all of that is of one answer, so that a write may rely on it unread.
        self._is_known = False
        self.is_newer = False
        """Whether a newer version of this package wrote what `entries` found last."""
        self._parsed: tuple[Version | None, Mapping[str, Entry] | None] = None, None
        self._is_undisturbed = False

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """While the block runs, the lock that the caller holds keeps others from writing: what is young stays, too.

        A bucket has no locks, and no need of this: there each content has a version of its own.
        """
        self._is_undisturbed = True
        try:
            yield
        finally:
            self._is_undisturbed = False
            if not self._tells(self._parsed[0]):
                self._parsed = None, None

    def _tells(self, version: Version | None) -> bool:
        """True if another content has another version; one of the same length may get that of a young file."""
        return version is not None and (version.is_settled or self._is_undisturbed)

    def entries(self, *, warn: Callable[[str], None] | None = None) -> Mapping[str, Entry] | None:
        """The listed entries by day; None without a manifest, or if it is corrupt, which is passed to `warn`."""
        version, entries = self._parsed
        if version is not None and version == self._files.version(self.path):
            return entries
        found, entries, self.is_newer, self._is_known = None, None, False, False
        try:
            content, found = self._files.read_version(self.path, _MOST_BYTES)
            entries = from_text(content, self.dataset)
        except FileNotFoundError:
            pass
        except ValueError as error:
            self.is_newer = isinstance(error, records.NewerFormat)
            what = f"is not read: {error}" if self.is_newer else f"is corrupt ({error}); it is rebuilt from the chunks"
            if warn:
                warn(f"{self.path} {what}")
        self._found, self._is_known = found, True
        # One that is corrupt is parsed again, so that each reader is told. All is noted in one piece, as threads share
        # a reader.
        self._parsed = (found if entries is not None and self._tells(found) else None), entries
        return entries

    @STORE.of("manifest")
    @again_if_changed
    def update(
        self, dataset: Dataset, updated: Callable[[Mapping[str, Entry] | None], dict[str, Entry]]
    ) -> dict[str, Entry]:
        """List other entries, and return those that are listed then; the caller holds the folder's lock.

        Args:
            dataset: whose manifest it is.
            updated: from the listed entries, as `entries` returns them, to those that are listed from now on. It is
                called again if another process has written the manifest meanwhile.

        Raises:
            StoreError: a newer version of this package wrote the manifest.
        """
        # Where a write finds out that the file has changed, what was found last is looked at again only then.
        listed = self._parsed[1] if self._files.is_conditional and self._is_known else self.entries()
        self._is_known = False
        if self.is_newer:
            raise StoreError(f"{self.path} is not written: a newer version of market-data wrote it; update market-data")
        entries = updated(listed)
        version = self._files.write(self.path, to_text(dataset, entries.values()), self._found)
        if self._tells(version):
            self._found, self._is_known = version, True
            self._parsed = version, entries
        return dict(entries)
