"""Rows become tables bit by bit, tables join, and chunks hold what was put into them: to the byte, for every reader."""

import hashlib
import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.parsing import from_rows
from market_data_pipeline.core.klines.table import (
    FIELDS,
    INTEGER_FIELDS,
    SCHEMA,
    column,
    cut,
    join,
    open_times,
)
from market_data_pipeline.core.store.chunks.encoding import FOOTER_KEY, Footer, decode, encode
from market_data_pipeline_tests.core.fakes import day, klines_at, klines_of, span, whole

DAY = day("2024-03-05")
OUTAGE = Absence(Kind.OUTAGE, span("2024-03-05T04:00Z", "2024-03-05T05:30Z"))
FOOTER = Footer("spot", "BTC/USDT", "UTC", DAY.key, "rest", (OUTAGE,))
KLINES = klines_of(whole(DAY), without=[OUTAGE.span])
NOT_A_CHUNK = (ValueError, KeyError, TypeError, OSError)

# As the exchange writes them: plain decimals.
decimals = st.decimals(0, 10**9, allow_nan=False, allow_infinity=False, places=8).map(lambda number: f"{number:f}")
minute_sets = st.sets(st.integers(0, 30)).map(lambda minutes: {minute * MINUTE_MS for minute in minutes})


def row(at: int = 0, **fields: object) -> list[object]:
    """A row as the exchange sends it."""
    usual = dict.fromkeys(FIELDS, "1.0") | {"open_time": at, "close_time": at + 59_999, "trades": 3}
    return list((usual | fields).values())


def a_chunk() -> bytes:
    return encode(KLINES, FOOTER)


# --- rows


@given(st.lists(decimals, min_size=1))
def test_floats_are_bit_equal_to_pythons(texts):
    klines = from_rows([row(at * MINUTE_MS, open=text, ignore=text) for at, text in enumerate(texts)]).klines
    expected = np.array([float(text) for text in texts])
    assert column(klines, "open").tobytes() == expected.tobytes() == column(klines, "ignore").tobytes()


@settings(max_examples=500)
@given(st.floats(min_value=5e-324, max_value=1.7e308))
def test_the_shortest_spelling_of_any_float_is_read_bit_equal(value):
    assert column(from_rows([row(high=repr(value))]).klines, "high").tobytes() == np.float64(value).tobytes()


def test_rows_become_a_table_with_the_twelve_fields_and_their_types():
    klines = from_rows([row(60_000, trades=7), row(120_000)]).klines
    assert klines.schema == SCHEMA
    assert klines.to_pylist()[0] == dict(zip(FIELDS, map(float, row(60_000, trades=7)), strict=True))
    assert from_rows([]).klines.equals(SCHEMA.empty_table())


@pytest.mark.parametrize(
    "rows",
    [
        [row()[:11]],
        [[*row(), "0"]],
        [row(), row()[:11]],
        [row(open_time="soon")],
        [row(open_time=None)],
        [row(1 << 70)],
        [row(True)],
        [None],
        [7],
        [{}],
        {},
        "rows",
        None,
        [row(at, open="dear") for at in range(11)],
    ],
)
def test_what_is_no_list_of_rows_is_refused(rows):
    with pytest.raises(ValueError, match=r"."):
        from_rows(rows)


# --- tables


@given(minute_sets, minute_sets)
def test_joined_klines_are_sorted_unique_and_the_newer_counts(older, newer):
    def priced(times: set[int], price: float) -> pa.Table:
        klines = klines_at(times)
        return klines.set_column(1, SCHEMA.field("open"), pa.array(np.full(len(times), price)))

    joined = join(priced(older, 1.0), priced(newer, 2.0))
    expected = {time: 1.0 for time in older} | {time: 2.0 for time in newer}
    assert dict(zip(open_times(joined).tolist(), column(joined, "open").tolist(), strict=True)) == expected
    assert open_times(joined).tolist() == sorted(expected)
    assert joined.schema == SCHEMA


@given(minute_sets, st.integers(-2, 33), st.integers(0, 33))
def test_cut_keeps_exactly_what_opens_within(times, start, length):
    within = Span(start * MINUTE_MS, (start + length) * MINUTE_MS)
    expected = sorted(time for time in times if within.start_ms <= time < within.end_ms)
    assert open_times(cut(klines_at(times), within)).tolist() == expected


# --- chunks


@pytest.mark.parametrize("count", [0, 1, 2, 1380, 1440, 1500])
def test_a_chunk_gives_back_what_was_put_into_it(count):
    klines = klines_of(Span(DAY.start_ms, DAY.start_ms + count * MINUTE_MS))
    read, footer = decode(encode(klines, FOOTER))
    assert read.schema.remove_metadata() == SCHEMA
    assert read.equals(klines)
    assert footer == FOOTER


@pytest.mark.parametrize("pieces", [2, 7, 1440])
def test_equal_klines_give_equal_bytes_however_they_lie_in_memory(pieces):
    klines = klines_of(whole(DAY))
    rows = 1440 // pieces + 1
    scattered = pa.concat_tables(klines.slice(at, rows) for at in range(0, 1440, rows))
    sliced = klines_of(Span(DAY.start_ms - 5 * MINUTE_MS, DAY.end_ms)).slice(5)
    assert encode(klines, FOOTER) == encode(scattered, FOOTER) == encode(sliced, FOOTER)


@pytest.mark.parametrize(("asked", "groups"), [(None, [1440]), (1440, [1440]), (500, [500, 500, 440]), (5000, [1440])])
def test_row_groups_have_at_most_the_asked_rows(asked, groups):
    content = encode(klines_of(whole(DAY)), FOOTER, row_group_rows=asked)
    metadata = pq.read_metadata(io.BytesIO(content))
    assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == groups
    assert decode(content)[0].equals(klines_of(whole(DAY)))


def test_no_flipped_byte_changes_a_kline_unnoticed():
    """A flip in the pages is refused by their checksums. One in the footer may be read, as another day or source or as
    nothing different at all, but never as other numbers; for those there is the manifest's sha256.
    """
    klines = klines_of(Span(DAY.start_ms, DAY.start_ms + 5 * MINUTE_MS))
    content = encode(klines, FOOTER)
    digest, refused = hashlib.sha256(content).digest(), 0
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        assert hashlib.sha256(flipped).digest() != digest
        try:
            read, _ = decode(bytes(flipped))
        except NOT_A_CHUNK:
            refused += 1
        else:
            assert read.equals(klines), at
    assert refused > len(content) / 2


@pytest.mark.parametrize("keep", [0, 1, 4, 100, 0.5, -1])
def test_a_chunk_that_was_cut_off_is_refused(keep):
    content = a_chunk()
    with pytest.raises(NOT_A_CHUNK):
        decode(content[: keep if isinstance(keep, int) else int(len(content) * keep)])


def test_a_parquet_file_of_someone_else_is_no_chunk():
    sink = io.BytesIO()
    pq.write_table(klines_of(whole(DAY)), sink)
    with pytest.raises(ValueError, match="the Parquet footer has no market_data"):
        decode(sink.getvalue())


# --- readers that nobody here wrote, without options


@pytest.fixture
def chunk_file(tmp_path):
    path = tmp_path / "chunk_000001_2024-03-05.parquet"
    path.write_bytes(a_chunk())
    return path


def test_pandas_reads_a_chunk(chunk_file):
    frame = pd.read_parquet(chunk_file)
    assert list(frame.columns) == list(FIELDS)
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        name: "int64" if name in INTEGER_FIELDS else "float64" for name in FIELDS
    }
    assert len(frame) == 1350
    assert frame["close"].to_numpy().tobytes() == column(KLINES, "close").tobytes()


def test_pyarrow_reads_a_chunk_and_its_footer(chunk_file):
    table = pq.read_table(chunk_file)
    assert table.equals(KLINES)
    assert b"BTC/USDT" in pq.read_metadata(chunk_file).metadata[FOOTER_KEY]


def test_polars_reads_a_chunk(chunk_file):
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(chunk_file)
    assert frame.columns == list(FIELDS)
    assert frame.dtypes == [polars.Int64 if name in INTEGER_FIELDS else polars.Float64 for name in FIELDS]
    assert frame["close"].to_list() == KLINES.column("close").to_pylist()


def test_duckdb_reads_a_chunk(chunk_file):
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.read_parquet(str(chunk_file))
    assert relation.columns == list(FIELDS)
    types = ["BIGINT" if name in INTEGER_FIELDS else "DOUBLE" for name in FIELDS]
    assert [str(kind) for kind in relation.types] == types
    assert len(relation.fetchall()) == 1350
