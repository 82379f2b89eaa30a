"""The chunk or combined file that a name in a URL stands for.

Belongs here: refusing every name that is not a file of the store under the data root. Does not belong here: reading the
file (`preview`).
"""

from dataclasses import dataclass

from market_data_pipeline.api.problems import FieldProblem, Problem
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath

MOST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A chunk or a combined file. `name` is its path relative to the data root, with `/`."""

    path: StorePath
    name: str
    market: Market
    token: str
    is_combined: bool


def stored_file(root: StorePath, name: str) -> StoredFile:
    """Return the file with that name under the data root.

    Raises:
        Problem: the name is not one that a file of the store can have (422), or the file does not exist (404).
    """
    parsed = layout.parse_stored_name(name)
    if parsed is None:
        problem = f"not a file of the store; give it relative to the data root, for example {layout.CHUNK_EXAMPLE}"
        raise Problem(422, "No such name", problem, [FieldProblem(field="file", problem=problem)])
    path = root / name
    if not storage_of(root).is_within(path, root):
        raise Problem(404, "No such file", f"there is no {name} in the store; it may have been renamed: see /browse")
    return StoredFile(path, name, parsed.market, parsed.token, parsed.is_combined)
