"""Live mode of many pairs for some minutes: the engine of the sensors and of `market-data live`, in one process.

Belongs here: the calls that a tick is made of, timed. Does not belong here: goals (`live`).
The exchange has the clock of this machine and shows a kline from its minute's end on. The time from the minute's end to
an update is therefore the time from the kline's first appearance at the exchange to its file on disk.
"""

import argparse
import gc
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset, Market, parse_market
from market_data_pipeline.core.klines.days import MINUTE_MS, day_at, parse_zone
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.resolve import dataset_of, resolve
from market_data_pipeline.core.store.chunks.encoding import encode
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.instance.composition import live_market_of, opener_of, store_of
from market_data_pipeline.settings import Settings

_PATIENCE_S = 12
# Opening connections and the first reading of each chunk: what a session begins with, and no minute after it.
_FIRST_TICKS = 2
_ROWS_OF_A_DAY, _DAY_MS = 1440, 86_400_000


def main() -> None:
    options = _options()
    gc.set_threshold(50_000)  # as the command line does
    settings = Settings(market_data_dir=options.root, market_data_exchange_url=options.url)
    market = parse_market(options.market)
    pairs = [f"SIM{number:03}/USDT" for number in range(1, options.pairs + 1)]
    with ThreadPoolExecutor(4) as pool:
        datasets = list(pool.map(lambda pair: _loaded(settings, market, pair), pairs))
    live, stopped = live_market_of(settings, market, "a benchmark"), threading.Event()
    live.follow(datasets)
    for _ in range(_FIRST_TICKS):
        _minute(live, stopped, is_measured=False)
    minutes = [_minute(live, stopped, is_measured=True) for _ in range(options.minutes)]
    live.close()
    store = store_of(settings)
    files = [store.open(dataset) for dataset in datasets]
    sizes = [_chunk_bytes(each) for each in files]
    chunk_bytes, mean_bytes = (sum(values) / len(sizes) for values in zip(*sizes, strict=True))
    facts: dict[str, Any] = {name: [minute[name] for minute in minutes] for name in minutes[0]}
    facts |= {"chunk_bytes": chunk_bytes, "mean_bytes": mean_bytes, "noted_bytes": _bytes_to_note(files)}
    sys.stdout.write(json.dumps(facts) + "\n")


def _minute(live: LiveMarket, stopped: threading.Event, *, is_measured: bool) -> dict[str, Any]:
    """One minute: how late each update was, and what the minute cost, with all that comes after the tick."""
    edge_ms = live.await_minute(stopped)
    if edge_ms is None:
        raise SystemExit("stopped")
    cpu, wrote, began, delays_s = time.process_time(), _written_bytes(), time.perf_counter(), []
    for update in live.tick(edge_ms, patience_s=_PATIENCE_S, stopped=stopped):
        delays_s.append(time.time() - edge_ms / 1000)
        if is_measured and update.added != 1:
            raise SystemExit(f"not one kline more: {update}")
    took_s = time.perf_counter() - began
    ticked = time.process_time()
    live.flush()
    return {
        "late_s": sorted(delays_s),
        "ticks_s": took_s,
        "tick_cpu_s": (ticked - cpu) / len(delays_s),
        "cpu_s": (time.process_time() - cpu) / len(delays_s),
        "written_bytes": (_written_bytes() - wrote) / len(delays_s),
    }


def _written_bytes() -> int:
    """What this process has had written to disk so far, as Linux counts it; 0 on other systems."""
    path = Path("/proc/self/io")
    if not path.exists():
        return 0
    numbers = dict(line.split(": ") for line in path.read_text(encoding="ascii").splitlines())
    return int(numbers["write_bytes"])


def _chunk_bytes(store: DatasetStore) -> tuple[int, int]:
    """The bytes of today's chunk, and those of a chunk of half a day: so many has one on average while it grows."""
    newest = store.newest
    if newest is None:
        raise SystemExit("nothing is stored")
    yesterday = store.trusted(day_at(store.dataset.zone, store.dataset.day(newest.day).start_ms - 1))
    if yesterday is None or yesterday.klines.num_rows != _ROWS_OF_A_DAY:
        raise SystemExit("yesterday is not whole")
    return newest.size_bytes, len(encode(yesterday.klines.slice(0, _ROWS_OF_A_DAY // 2), yesterday.footer))


def _bytes_to_note(files: list[DatasetStore]) -> float:
    """What noting one more requested minute of a dataset has written to disk, on average."""
    wrote = _written_bytes()
    for store in files:
        end_ms = store.dataset.requested[-1].end_ms
        store.note_requested(Span(end_ms, end_ms + MINUTE_MS), store.dataset.start)
    return (_written_bytes() - wrote) / len(files)


def _loaded(settings: Settings, market: Market, pair: str) -> Dataset:
    """The pair's dataset with yesterday and today in it."""
    resolved = resolve(opener_of(settings, "rest"), market, pair, strict=True)
    now_ms = resolved.source.now_ms()
    zone = parse_zone("UTC")
    window = Span(day_at(zone, now_ms - _DAY_MS).start_ms, now_ms)
    store = dataset_of(store_of(settings), resolved, zone=zone, window=window)
    for result in backfill(store, resolved.source, window):
        if result.error:
            raise SystemExit(result.error)
    resolved.source.close()
    return store.dataset


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--market", required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--minutes", type=int, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--root", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
