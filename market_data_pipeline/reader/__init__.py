"""Stored klines for research: `open_dataset(...)`, then pandas, polars, DuckDB or Arrow, as stored or resampled.

Belongs here: what a user calls (this module, `klines`), files (`stored`), bins (`resampling`), frames (`formats`). Does
not belong here: loading and repairing klines (`app.backfill`, `app.repair`).
May import: `core`, and `settings` where an argument is left out.
The reader writes nothing and takes no lock, so any number of processes may read while klines are loaded. See
docs/reader.md.
"""

from pathlib import Path

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import parse_market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.pair import parse_pair
from market_data_pipeline.core.store.layout import MANIFEST_FILE
from market_data_pipeline.core.store.manifest import ManifestFile
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.reader.klines import DatasetKlines, Klines, ResampledKlines
from market_data_pipeline.reader.stored import StoredDataset

__all__ = ["DatasetKlines", "Klines", "ResampledKlines", "open_dataset"]


def open_dataset(
    pair: str | None = None, *, market: str | None = None, root: str | Path | None = None
) -> DatasetKlines:
    """The stored klines of a pair on a market. An argument that is None is taken from the settings.

    Args:
        pair: such as `BTC/USDT`, or the exchange's symbol `BTCUSDT`.
        market: `spot` or `futures`.
        root: the data root.

    Raises:
        UsageError: there is no such dataset.
        StoreError: its `dataset.json` is damaged.
    """
    if pair is None or market is None or root is None:
        from market_data_pipeline import settings  # importing it takes as long as all other imports together

        defaults = settings.load()
        pair, market, root = pair or defaults.symbol, market or defaults.market_type, root or defaults.root
    store, on = Store(Path(root).expanduser().absolute()), parse_market(market)
    name = parse_pair(pair, has_contracts=on.has_contracts)
    dataset = store.find(on, name)
    if dataset is None:
        raise UsageError(
            f"there is no {on} {name} under {store.root}; market-data status lists what is stored, "
            f"market-data --market {on} --pair {name} backfill loads it"
        )
    folder = store.folder(on, name)
    files = StoredDataset(folder, dataset, ManifestFile(folder / MANIFEST_FILE, dataset))
    return DatasetKlines(files, zone=dataset.zone, shown_in=parse_zone("UTC"))
