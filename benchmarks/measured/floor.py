"""The least work for the files of the archive, in several processes: unzip, sha256, CSV to Arrow, encode, write.

Belongs here: these five steps with the same libraries and options as the package, and nothing else. Does not belong
here: downloads, rules, manifests. Each process writes the Parquet files of the folders that are its share.
"""

import argparse
import hashlib
import io
import multiprocessing
import os
import time
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from benchmarks.measured.stopwatch import Stopwatch
from market_data_pipeline.core.klines.table import FIELDS, SCHEMA
from market_data_pipeline.core.store.chunks.encoding import WRITER_OPTIONS

_READ = csv.ReadOptions(column_names=FIELDS, use_threads=False, block_size=1 << 24)
_PARSE, _CONVERT = csv.ParseOptions(quote_char=False), csv.ConvertOptions(column_types=SCHEMA, check_utf8=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", required=True, type=Path, help="folder with a folder of zips for each pair")
    parser.add_argument("--root", required=True, type=Path, help="where the Parquet files are written")
    parser.add_argument("--processes", required=True, type=int)
    options = parser.parse_args()
    folders = sorted(options.files.glob("*/1m"))
    shares = [(folders[number :: options.processes], options.root) for number in range(options.processes)]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        pool.map(_ready, range(options.processes), chunksize=1)  # imports are not measured
        stopwatch = Stopwatch()
        done = pool.map(_encode_all, shares, chunksize=1)
        stopwatch.report(rows=sum(rows for rows, _ in done), cpu_seconds=sum(cpu_s for _, cpu_s in done))


def _ready(_number: int) -> None:
    time.sleep(0.1)


def _encode_all(share: tuple[list[Path], Path]) -> tuple[int, float]:
    """The rows of the share's files, and the seconds of CPU that they took."""
    folders, root = share
    began_s, rows = time.process_time(), 0
    for folder in folders:
        target = root / folder.parent.name
        target.mkdir()
        for file in sorted(folder.glob("*.zip")):
            rows += _encode(file, target / f"{file.stem}.parquet")
    return rows, time.process_time() - began_s


def _encode(file: Path, target: Path) -> int:
    packed = file.read_bytes()
    with zipfile.ZipFile(io.BytesIO(packed)) as zipped:
        lines = zipped.read(zipped.namelist()[0])
    if not lines[:1].isdigit():
        lines = lines[lines.find(b"\n") + 1 :]
    hashlib.sha256(packed).hexdigest()
    table = csv.read_csv(pa.BufferReader(lines), _READ, _PARSE, _CONVERT)
    klines, sink = pa.Table.from_arrays(table.columns, schema=SCHEMA), io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, **WRITER_OPTIONS) as writer:
        writer.write_table(klines)
    content = sink.getvalue()
    hashlib.sha256(content).hexdigest()
    with target.open("wb") as written:
        written.write(content)
        written.flush()
        os.fsync(written.fileno())
    return klines.num_rows


if __name__ == "__main__":
    main()
