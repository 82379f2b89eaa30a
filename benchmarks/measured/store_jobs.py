"""Work on a store that is loaded already, by the engine and without it; one job per process.

Belongs here: verify and combine of the engine, the floor under verify, pandas' way to combine, sizes of encodings. Does
not belong here: loading (`engine`, `naive`). Each job imports what it needs and nothing else, before its stopwatch.
"""

import argparse
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measured.arguments import dataset_parser
from benchmarks.measured.stopwatch import Stopwatch


def _opener(options: argparse.Namespace) -> Callable[[], Any]:
    """What opens the dataset's files; imported before the stopwatch, opened after."""
    from market_data_pipeline.core.klines.dataset import parse_market
    from market_data_pipeline.core.store.root import Store

    def opened() -> Any:
        store = Store(options.root)
        dataset = store.find(parse_market(options.market), options.pair)
        if dataset is None:
            raise SystemExit(f"no {options.market} {options.pair} in {options.root}")
        return store.open(dataset)

    return opened


def _files(options: argparse.Namespace) -> list[Path]:
    exchange_id = "binance" if options.market == "spot" else "binanceusdm"
    return sorted((options.root / exchange_id / options.pair.replace("/", "") / "1m" / "chunks").glob("*.parquet"))


def verify(options: argparse.Namespace) -> None:
    """The engine's verification, all of it."""
    import pyarrow as pa

    from market_data_pipeline.core.klines.table import SCHEMA
    from market_data_pipeline.core.proof.schema import schema, schema_problem
    from market_data_pipeline.core.proof.verify import verify as core_verify

    # pandera and pandas are imported, half a second, by the first validation: here before the stopwatch.
    schema_problem(pa.Table.from_batches([], SCHEMA), schema())
    opened = _opener(options)
    stopwatch = Stopwatch()
    result = core_verify(opened())
    stopwatch.report(rows=result.rows, ok=result.ok, bytes=result.size_bytes)


def floor(options: argparse.Namespace) -> None:
    """Read, sha256 and decode of the same files: less than this no verification can do."""
    _floor(options, lambda klines: None)


def floor_with_rules(options: argparse.Namespace) -> None:
    """The same with the rules of a kline, written in numpy by hand and for one kind of file only."""
    import numpy as np
    import pandas  # noqa: F401  (imported by the first to_numpy of pyarrow; here before the stopwatch, as in `verify`)

    def check(klines: Any) -> None:
        column = {name: klines.column(name).to_numpy() for name in klines.schema.names}
        times = column.pop("open_time")
        good = [(np.diff(times) == 60_000).all(), (column.pop("close_time") == times + 59_999).all()]
        good += [np.isfinite(values).all() and (values >= 0).all() for values in column.values()]
        good.append((column["high"] >= np.maximum(column["open"], column["close"])).all())
        good.append((column["low"] <= np.minimum(column["open"], column["close"])).all())
        good.append((column["taker_base_volume"] <= column["volume"]).all())
        good.append((column["taker_quote_volume"] <= column["quote_volume"]).all())
        if not all(good):
            raise SystemExit("the floor of verify found a broken rule")

    _floor(options, check)


def _floor(options: argparse.Namespace, check: Callable[[Any], None]) -> None:
    import pyarrow.parquet as pq

    files, rows, digests = _files(options), 0, set()
    stopwatch = Stopwatch()
    for file in files:
        content = file.read_bytes()
        digests.add(hashlib.sha256(content).hexdigest())
        with pq.ParquetFile(io.BytesIO(content)) as opened:
            klines = opened.read()
        check(klines)
        rows += klines.num_rows
    stopwatch.report(rows=rows, files=len(digests))


def combine(options: argparse.Namespace) -> None:
    """The engine's combined file, built anew."""
    from market_data_pipeline.core.store.combined import combine as core_combine

    opened = _opener(options)
    stopwatch = Stopwatch()
    store = opened()
    built = core_combine(store, rebuild=True)
    stopwatch.report(rows=built.rows, bytes=built.size_bytes)


def concat(options: argparse.Namespace) -> None:
    """What users write: every chunk as a data frame, concatenated, written with the defaults."""
    import pandas as pd
    import pyarrow.dataset  # noqa: F401  (both imported lazily by pandas; here before the stopwatch)
    import pyarrow.parquet  # noqa: F401

    files, target = _files(options), options.root / "concat.parquet"
    stopwatch = Stopwatch()
    frame = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    frame.to_parquet(target)
    rows, size_bytes = len(frame), target.stat().st_size
    stopwatch.report(rows=rows, bytes=size_bytes)
    target.unlink()


def sizes(options: argparse.Namespace) -> None:
    """Bytes of the chunks, and of the same tables written with pyarrow's and with pandas' defaults."""
    import pyarrow.parquet as pq

    stopwatch = Stopwatch()
    rows = chunks = default_zstd = default_snappy = 0
    for file in _files(options):
        klines = pq.read_table(file).replace_schema_metadata(None)
        rows += klines.num_rows
        chunks += file.stat().st_size
        default_zstd += _written(klines, "zstd")
        default_snappy += _written(klines, "snappy")
    stopwatch.report(rows=rows, chunks=chunks, default_zstd=default_zstd, default_snappy=default_snappy)


def _written(klines: Any, compression: str) -> int:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(klines, sink, compression=compression)
    return sink.tell()


JOBS = {
    "verify": verify,
    "floor": floor,
    "floor-with-rules": floor_with_rules,
    "combine": combine,
    "concat": concat,
    "sizes": sizes,
}


def main() -> None:
    parser = dataset_parser(__doc__)
    parser.add_argument("job", choices=sorted(JOBS))
    parser.add_argument("--root", required=True, type=Path, help="data root")
    options = parser.parse_args()
    JOBS[options.job](options)


if __name__ == "__main__":
    main()
