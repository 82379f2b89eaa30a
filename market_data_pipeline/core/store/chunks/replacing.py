"""Which chunk may take the place of the stored one.

Belongs here: the rule, and its error. Does not belong here: how one is replaced (`store.dataset_store`), what changed
in it (`store.revisions`).
"""

import numpy as np

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.store.chunks.files import Chunk


class Overtaken(StoreError):
    """The chunk on disk has minutes that a new one lacks, or is another than the one whose klines the new one keeps.

    Another process may have written it meanwhile: make the new chunk again, from what is stored now.
    """


def refuse_worse(dataset: str, stored: Chunk, new: Chunk) -> None:
    """Raise Overtaken if the new chunk lacks minutes that the stored one has. `dataset` is for people."""
    lost = np.setdiff1d(open_times(stored.klines), open_times(new.klines), assume_unique=True)
    if lost.size:
        raise Overtaken(
            f"{dataset} {new.entry.day} keeps its chunk: the exchange now lacks {lost.size} minutes that it has"
        )
