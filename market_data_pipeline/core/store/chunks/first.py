"""First chunks of days, where a write finds out itself whether the day has one: no look is needed before it.

Belongs here: writing such chunks, several at once. Does not belong here: a day that has a chunk (`publishing`).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from market_data_pipeline.core.store.chunks.files import NewChunk
from market_data_pipeline.core.store.storage.protocol import Changed, Storage, StorePath, Version


class FirstChunks:
    """Writes of first chunks in one place."""

    def __init__(self, files: Storage[StorePath]) -> None:
        """`files` is the place."""
        self._files = files
        self._begun: dict[StorePath, tuple[NewChunk, Future[Version | None]]] = {}

    @contextmanager
    def begun(self, new: Sequence[tuple[StorePath, NewChunk]]) -> Iterator[None]:
        """Begin to write these chunks at once; the block calls `written` for each of them. One chunk is not begun."""
        if len(new) < 2:
            yield
            return
        with ThreadPoolExecutor(min(self._files.most_at_once, len(new)), thread_name_prefix="publish") as pool:
            self._begun = {path: (each, pool.submit(self._files.write, path, each.content, None)) for path, each in new}
            try:
                yield
            finally:
                self._begun = {}

    def written(self, path: StorePath, new: NewChunk) -> Version | None:
        """The version of the chunk, which is on disk then; None if there is another file, and it is not.

        Raises:
            OSError: it cannot be written.
        """
        begun, writing = self._begun.pop(path, (None, None))
        try:
            return writing.result() if writing and begun is new else self._files.write(path, new.content, None)
        except Changed:
            return None
