"""`manifest.json` on disk, parsed again only when it has changed.

Belongs here: reading and writing that one file. Does not belong here: what an entry says (`manifest`), when the file is
written and what may be in it then (`dataset_store`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store import manifest
from market_data_pipeline.core.store.atomic import state_of, write_whole
from market_data_pipeline.core.store.manifest import Entry


class ManifestFile:
    """The manifest of one dataset. Live mode looks at it each minute, and years of days take a while to parse."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self.path = path
        self._state: tuple[int, int, int] | None = None
        self._entries: Mapping[str, Entry] | None = None

    def entries(self, *, warn: Callable[[str], None] | None = None) -> Mapping[str, Entry] | None:
        """What is listed, by day; None if there is no manifest, or a corrupt one, of which `warn` is told."""
        state = state_of(self.path)
        if state is not None and state == self._state:
            return self._entries
        try:
            self._entries, self._state = manifest.from_text(self.path.read_bytes()), state
        except FileNotFoundError:
            self._entries, self._state = None, None
        except (ValueError, KeyError, TypeError) as error:
            self._entries, self._state = None, None
            if warn:
                said = " ".join(f"{type(error).__name__}: {error}".split())
                warn(f"{self.path} is corrupt ({said}); it is rebuilt from the chunks")
        return self._entries

    def write(self, dataset: Dataset, entries: Mapping[str, Entry]) -> None:
        """List these and nothing else; the caller holds the folder's lock."""
        write_whole(self.path, manifest.to_text(dataset, entries.values()).encode())
