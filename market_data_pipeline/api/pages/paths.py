"""From a name in a URL to a file of the store, and to no other file.

Belongs here: which names there are, and that they lead nowhere but into the data root. Does not belong here: reading.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from market_data_pipeline.api.problems import FieldProblem, Problem
from market_data_pipeline.core.klines.dataset import Market

MOST_CHARACTERS = 300
_EXCHANGES = {market.exchange_id: market for market in Market}
# No name can have a colon, a backslash, a NUL, a leading slash or a part that is only dots. Tokens may be Chinese.
_NAME = re.compile(
    rf"(?P<exchange>{'|'.join(_EXCHANGES)})/(?P<token>[^\W_]+)/1m/"
    r"(?:chunks/chunk_\d{6,}_\d{4}-\d{2}-\d{2}|(?P<combined>combined)/[\w+-]+)\.parquet"
)
_FORM = "binance/BTCUSDT/1m/chunks/chunk_000001_2020-01-01.parquet"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A Parquet file of the store: a chunk, or a combined file. `name` is relative to the data root, with `/`."""

    path: Path
    name: str
    market: Market
    token: str
    is_combined: bool


def stored_file(root: Path, name: str) -> StoredFile:
    """The file of that name under the data root.

    Raises:
        Problem: no file of the store has such a name (422), or there is none (404).
    """
    match = _NAME.fullmatch(name)
    if match is None:
        problem = f"not a file of the store; give it relative to the data root, for example {_FORM}"
        raise Problem(422, "No such name", problem, [FieldProblem(field="file", problem=problem)])
    path = root / name
    if not _lies_within(root, path):
        raise Problem(404, "No such file", f"there is no {name} in the store; it may have been renamed: see /browse")
    return StoredFile(path, name, _EXCHANGES[match["exchange"]], match["token"], match["combined"] is not None)


def _lies_within(root: Path, path: Path) -> bool:
    """True for a file that is there and, all links followed, still under the data root."""
    try:
        real = path.resolve(strict=True)
        return real.is_file() and real.is_relative_to(root.resolve(strict=True))
    except (OSError, ValueError, RuntimeError):
        return False
