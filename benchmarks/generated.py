"""Many datasets that are made up: their notes (`dataset.json`, manifest) are real files, their chunks do not exist.

Belongs here: writing them. Does not belong here: what is measured with them.
"""

from datetime import date, timedelta
from pathlib import Path

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import day_of, parse_zone
from market_data_pipeline.core.store.dataset_file import write_dataset
from market_data_pipeline.core.store.layout import MANIFEST_FILE
from market_data_pipeline.core.store.manifest import Entry, State, to_text
from market_data_pipeline.core.store.root import Store

_ZONE, _FIRST = parse_zone("UTC"), date(2020, 1, 1)


def store_many(root: Path, datasets: int, days: int) -> None:
    """Write spot N000/USDT and so on, with equal manifests of so many days from 2020-01-01 on."""
    store, entries = Store(root), [_entry(_FIRST + timedelta(number)) for number in range(days)]
    requested = (Span(day_of(_ZONE, _FIRST).start_ms, day_of(_ZONE, _FIRST + timedelta(days - 1)).end_ms),)
    manifest = to_text(Dataset(Market.SPOT, "N000/USDT", _ZONE, _FIRST), entries)
    for number in range(datasets):
        dataset = Dataset(Market.SPOT, f"N{number:03d}/USDT", _ZONE, _FIRST, requested)
        folder = Path(str(store.folder(dataset.market, dataset.pair)))
        folder.mkdir(parents=True)
        write_dataset(folder, dataset)
        (folder / MANIFEST_FILE).write_bytes(manifest.replace(b"N000/USDT", dataset.pair.encode(), 1))


def _entry(date_: date) -> Entry:
    """That of a whole day."""
    day = day_of(_ZONE, date_)
    last = day.end_ms - 60_000
    return Entry(day.key, 1440, 1440, day.start_ms, last, (), "archive", 60_000, "0" * 64, State.ARCHIVED)
