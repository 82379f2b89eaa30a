"""Every name and path under the data root: datasets' folders, their files, chunks, combined files, locks.

Belongs here: how a name is made, and how it is read back. Does not belong here: opening, reading or writing a file.

    <root>/<exchange_id>/<TOKEN>/1m/     binance/BTCUSDT/1m: the folder of a dataset
        dataset.json                     the dataset's market, pair, zone, start and requested minutes
        manifest.json                    one entry per chunk
        revisions.jsonl                  the ledger of revisions
        proof.json                       when each chunk was last read in full and found good
        chunks/                          chunk_000001_2020-01-01.parquet, one per day
        combined/                        BTCUSDT_1m_all.parquet and selections of chunks
        quarantine/                      files that were moved out of chunks/
        kept/                            chunks that were replaced and that a snapshot names, by their sha256
        loading/                         one lock for each load that is under way; its name has the minutes
        .lock, .combine.lock             held by the process that writes the dataset, or a combined file
    <root>/<exchange_id>/.journal/       klines of open days that no chunk has yet, of all datasets of the market
    <root>/catalog/<exchange_id>/        the catalog of a market
        2024-05-15.parquet               all pairs as they were known on a UTC day
        learned.parquet                  what a refresh that is under way, or was interrupted, has learned
    <root>/snapshots/<name>/             a named list of chunks, see `store.snapshots`
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from market_data_pipeline.core.klines.dataset import INTERVAL, Dataset, Market
from market_data_pipeline.core.klines.days import Day, require_storable
from market_data_pipeline.core.klines.pair import is_token, token_of
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import P, StorePath

DATASET_FILE = "dataset.json"
MANIFEST_FILE = "manifest.json"
REVISIONS_FILE = "revisions.jsonl"
PROOF_FILE = "proof.json"
CHUNKS = "chunks"
COMBINED = "combined"
QUARANTINE = "quarantine"
LOADING = "loading"
KEPT = "kept"
SNAPSHOTS = "snapshots"
SNAPSHOT_FILE = "snapshot.json"
JOURNAL = ".journal"
JOURNAL_SUFFIX = ".journal"
"""What the name of a segment of a journal ends with."""
CATALOG = "catalog"
LEARNED_FILE = "learned.parquet"
LIVE_ERROR_FILE = ".live.error"
"""Why live mode of the dataset ended by an error, until it is followed again."""
LIVE_LOCK = ".live"
"""The name of the lock that the process has which follows the dataset, without its ending."""
LOCK_FILE = ".lock"
COMBINE_LOCK_FILE = ".combine.lock"
ALL_CHUNKS = "all"
"""The suffix of the combined file that has every chunk whole."""

CHUNK_EXAMPLE = "binance/BTCUSDT/1m/chunks/chunk_000001_2020-01-01.parquet"
_PARQUET = ".parquet"
_EXCHANGES = {market.exchange_id: market for market in Market}
_CHUNK = re.compile(r"chunk_(?P<index>[0-9]{6,9})_(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})\.parquet")
_KEPT = re.compile(r"[0-9a-f]{64}\.parquet")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# No name can have a colon, a backslash, a NUL, a leading slash or a part that is only dots. Tokens may be Chinese.
_STORED_FILE = re.compile(
    rf"(?P<exchange>{'|'.join(_EXCHANGES)})/(?P<token>[^/]+)/{INTERVAL}/"
    rf"(?:{CHUNKS}/{_CHUNK.pattern}|{COMBINED}/(?P<combined>[^/]+)\.parquet)"
)


@dataclass(frozen=True, slots=True)
class ChunkName:
    """The name of a chunk file: the chunk's index, from 1 at the dataset's start, and its day, `YYYY-MM-DD`."""

    index: int
    day: str

    def __str__(self) -> str:
        return f"chunk_{self.index:06d}_{self.day}{_PARQUET}"

    def neighbour(self, days: int) -> "ChunkName":
        """The name of the chunk so many days later, or earlier if `days` is negative.

        Raises:
            ValueError, OverflowError: there is no such calendar day.
        """
        return ChunkName(self.index + days, (date.fromisoformat(self.day) + timedelta(days)).isoformat())


@dataclass(frozen=True, slots=True)
class StoredName:
    """What the path of a chunk or combined file below the data root tells."""

    market: Market
    token: str
    is_combined: bool


def dataset_folder(root: P, market: Market, pair: str) -> P:
    """The folder of a dataset, whether it exists or not."""
    return root / market.exchange_id / token_of(pair) / INTERVAL


def owner_of(path: StorePath) -> tuple[str, str]:
    """The exchange and the token in the path of a `dataset.json`."""
    token = path.parent.parent
    return token.parent.name, token.name


def market_of(path: StorePath) -> Market:
    """The market in the path of a `dataset.json`."""
    exchange_id, _ = owner_of(path)
    return _EXCHANGES[exchange_id]


def journal_folder(folder: P) -> P:
    """Where the journal of the market is that the dataset in this folder belongs to."""
    return folder.parent.parent / JOURNAL


def market_journal(root: P, market: Market) -> P:
    """Where the journal of a market is, whether it exists or not."""
    return root / market.exchange_id / JOURNAL


def dataset_files(root: P, market: Market | None = None, *, name: str = DATASET_FILE) -> list[P]:
    """The `dataset.json` of every dataset that exists, or of those of a market, or another file; sorted by path."""
    return storage_of(root).existing(folder / name for folder in dataset_folders(root, market))


def dataset_folders(root: P, market: Market | None = None) -> list[P]:
    """Where datasets are or may be, of all markets or of one; sorted by path.

    Other folders of the root are not looked into: a disk keeps its own there, which only its owner may read.
    """
    files = storage_of(root)
    markets = [root / exchange_id for exchange_id in ([market.exchange_id] if market else sorted(_EXCHANGES))]
    return [each / token / INTERVAL for each in markets for token in files.names(each) if token != JOURNAL]


def root_of(folder: P) -> P:
    """The data root that the folder of a dataset is below."""
    return folder.parent.parent.parent


def snapshots_folder(root: P) -> P:
    """Where named lists of chunks are, whether it exists or not."""
    return root / SNAPSHOTS


def snapshot_folder(root: P, name: str) -> P:
    """The folder of a named list of chunks, whether it exists or not. Datasets lie in it as below the root."""
    return root / SNAPSHOTS / name


def snapshot_folders(root: P) -> list[P]:
    """The folders of all named lists of chunks, finished or not, by name."""
    folder = snapshots_folder(root)
    return [folder / name for name in storage_of(root).names(folder) if not name.startswith(".")]


def kept_path(folder: P, sha256: str) -> P:
    """Where a chunk of the dataset in this folder is once it was replaced, if a snapshot names it."""
    return folder / KEPT / f"{sha256}{_PARQUET}"


def is_kept(name: str) -> bool:
    """True for the name of a chunk that was replaced."""
    return _KEPT.fullmatch(name) is not None


def catalog_folder(root: P, market: Market) -> P:
    """The folder of a market's catalog, whether it exists or not."""
    return root / CATALOG / market.exchange_id


def snapshot_path(folder: P, day: date) -> P:
    """Where the snapshot of a UTC day lies in the folder of a catalog."""
    return folder / f"{day.isoformat()}{_PARQUET}"


def snapshot_days(folder: StorePath) -> list[date]:
    """The days that have a snapshot, in order; other files are left out."""
    found = storage_of(folder).names(folder)
    names = (name.removesuffix(_PARQUET) for name in found if name.endswith(_PARQUET))
    return sorted(date.fromisoformat(name) for name in names if _DAY.fullmatch(name) and _is_storable(name))


def relative_folder(dataset: Dataset, folder: str) -> str:
    """A folder of the dataset relative to the data root, with `/` between its parts and at its end."""
    return f"{dataset.market.exchange_id}/{dataset.token}/{INTERVAL}/{folder}/"


def chunk_name(dataset: Dataset, day: str) -> str:
    """The file name of a day's chunk: `chunk_000001_2020-01-01.parquet`."""
    return str(ChunkName(dataset.index_of(day), day))


def chunk_path(folder: P, dataset: Dataset, day: Day) -> P:
    """Where the chunk of a day lies below the folder of its dataset."""
    return folder / CHUNKS / chunk_name(dataset, day.key)


def parse_chunk_name(name: str) -> ChunkName | None:
    """The index and the day in a file name; None if it is not the name of a chunk."""
    match = _CHUNK.fullmatch(name)
    if match is None or not _is_storable(match["day"]) or int(match["index"]) == 0:
        return None
    return ChunkName(int(match["index"]), match["day"])


def combined_path(folder: P, token: str, suffix: str = ALL_CHUNKS) -> P:
    """Where a combined file lies below the folder of its dataset: `combined/BTCUSDT_1m_all.parquet`."""
    return folder / COMBINED / f"{token}_{INTERVAL}_{suffix}{_PARQUET}"


def combined_files(folder: P) -> Iterator[P]:
    """The combined files below the folder of a dataset, by name."""
    combined = folder / COMBINED
    yield from (combined / name for name in storage_of(folder).names(combined) if name.endswith(_PARQUET))


def combined_suffix(from_index: int | None, to_index: int | None, zone_name: str | None) -> str:
    """How a combined file of the chunks between two indexes, cut to days of a zone, differs from others by name.

    `all`, `000002-000003`, `000004-`, `-000001`, `all_Europe-Zurich`, `all_+0530`.
    """
    suffix = ALL_CHUNKS
    if from_index is not None or to_index is not None:
        suffix = "-".join("" if index is None else f"{index:06d}" for index in (from_index, to_index))
    return suffix if zone_name is None else f"{suffix}_{zone_name.replace('/', '-').replace(':', '')}"


def parse_stored_name(name: str) -> StoredName | None:
    """What the path of a chunk or combined file tells; None if no such file can be in the store.

    Args:
        name: relative to the data root, with `/`.
    """
    match = _STORED_FILE.fullmatch(name)
    if match is None or not is_token(match["token"]) or not _is_name(match["combined"] or "all"):
        return None
    return StoredName(_EXCHANGES[match["exchange"]], match["token"], match["combined"] is not None)


def _is_name(text: str) -> bool:
    """True if a combined file can have this name, without its ending."""
    return is_token(text.translate(dict.fromkeys(map(ord, "_+-"))))


def _is_storable(day: str) -> bool:
    try:
        require_storable(date.fromisoformat(day))
    except ValueError:
        return False
    return True
