"""Stored klines for research: `open_dataset(...)` for a pair, `open_panel(...)` for many, in four formats.

Belongs here: what a user calls (this module, `klines`, `panel`), which pairs (`choosing`) and minutes (`windows`) are
meant, files (`stored`, `snapshot`), bins (`resampling`), many pairs side by side (`grid`, `reasons`), frames
(`formats`, `grid_formats`), files for other programs (`exporting`). Does not belong here: loading and repairing klines
(`app.backfill`, `app.repair`).
May import: `core`, and `settings` where an argument is left out.
The reader writes nothing into the store and takes no lock of it, so any number of processes may read while klines are
loaded. See docs/reader.md.
"""

from collections.abc import Sequence
from pathlib import Path

from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.chunks.manifest_file import ManifestFile
from market_data_pipeline.core.store.layout import MANIFEST_FILE, dataset_folder, snapshot_folder
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.reader.choosing import choose, find_stored, store_at, store_of_names, words_of
from market_data_pipeline.reader.klines import DatasetKlines, Klines, ResampledKlines
from market_data_pipeline.reader.panel import Panel, PanelView, panel_of
from market_data_pipeline.reader.stored import READERS, StoredDataset
from market_data_pipeline.reader.windows import Instant

__all__ = ["DatasetKlines", "Klines", "Panel", "PanelView", "ResampledKlines", "open_dataset", "open_panel"]


def open_dataset(
    pair: str | None = None,
    *,
    market: str | None = None,
    root: str | Path | None = None,
    as_of: str | None = None,
) -> DatasetKlines:
    """The stored klines of a pair on a market. An argument that is None is taken from the settings.

    Args:
        pair: such as `BTC/USDT`, or the exchange's symbol `BTCUSDT`.
        market: `spot` or `futures`.
        root: the data root.
        as_of: the name of a snapshot: klines are those that it names, whatever was stored since.

    Raises:
        UsageError: there is no such dataset or snapshot.
        StoreError: its `dataset.json` is damaged.
    """
    if pair is None:
        from market_data_pipeline import settings

        pair = settings.load().symbol
    store, on = store_at(market, root)
    dataset = find_stored(store_of_names(store, as_of), on, pair, as_of)
    return _klines(store, dataset, max(READERS, store.most_at_once), as_of)


def open_panel(
    pairs: str | Sequence[str] = (),
    columns: str | Sequence[str] = ("close",),
    start: Instant = None,
    end: Instant = None,
    interval: str = "1m",
    tz: str | None = None,
    *,
    market: str | None = None,
    root: str | Path | None = None,
    at: Instant = None,
    universe: str | None = None,
    as_of: str | None = None,
) -> Panel:
    """The stored klines of many pairs of a market in one table, read when a format is asked for.

    Args:
        pairs: names in any spelling, and globs over what is stored: `*/USDT`, `BTC*`; `!*DOWN/*` leaves pairs out.
        columns: which columns of the klines.
        start: the first minute; None for the first that is stored or was requested of any of the pairs.
        end: the first minute after the window; None for the end of what is stored or was requested.
        interval: `1m`, or a longer one as `DatasetKlines.resample` takes it.
        tz: the zone of dates, of bins, and of the times shown; None as for one pair, if all have days of the same zone.
        market: `spot` or `futures`; None for that of the settings.
        root: the data root; None for that of the settings.
        at: keep only the pairs that had klines on this day.
        universe: take the market and the pairs of this universe of `market-data.toml`, and those of `pairs` beside it.
        as_of: the name of a snapshot: pairs, universes and klines are as it has them.

    Raises:
        UsageError: a pair is not stored or named twice, a glob matches nothing, no pair has klines on the day `at`,
            there is no such column, interval, zone, universe or snapshot, or the window ends before it starts.
        StoreError: the `dataset.json` of a pair is damaged.
    """
    store, on = store_at(market, root)
    named = store_of_names(store, as_of)
    on, words = words_of(named, on, pairs, universe, has_chosen=market is not None, as_of=as_of)
    # The panel reads pairs in threads, so that each of them needs none of its own.
    chosen = [_klines(store, dataset, 1, as_of) for dataset in choose(named, on, words, as_of)]
    return panel_of(chosen, columns, start, end, interval, tz).traded_at(at)


def _klines(store: Store, dataset: Dataset, readers: int, as_of: str | None) -> DatasetKlines:
    folder = store.folder(dataset.market, dataset.pair)
    if as_of is None:
        files = StoredDataset(folder, dataset, ManifestFile(folder / MANIFEST_FILE, dataset), readers)
    else:
        from market_data_pipeline.reader.snapshot import SnapshotDataset  # most readers need no snapshot

        listed = dataset_folder(snapshot_folder(store.root, as_of), dataset.market, dataset.pair) / MANIFEST_FILE
        files = SnapshotDataset(folder, dataset, ManifestFile(listed, dataset), readers, as_of)
    return DatasetKlines(files, zone=dataset.zone, shown_in=parse_zone("UTC"))
