"""A combined file that is not its chunks is found out, and one that is only older is told apart from a damaged one."""

import os
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.proof.combined import Agreement, combined_agreement, differences
from market_data_pipeline.core.store.combined import combine, select
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, day, span

FIRST = date(2020, 1, 1)
WINDOW = span("2020-01-01", "2020-01-06")
HALT = span("2020-01-03T04:00Z", "2020-01-03T05:30Z")


@pytest.fixture
def loaded(store) -> DatasetStore:
    """Five days, one of them with an outage."""
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    list(backfill(made, FakeSource(missing=[HALT]), WINDOW))
    return made


def content_of(path: Path) -> pa.Table:
    return pq.read_table(path)


def test_a_combined_file_of_several_row_groups_is_equal_to_its_chunks(store):
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    last = day((FIRST + timedelta(days=184)).isoformat())
    list(backfill(made, FakeSource(missing=[HALT], page_minutes=14_400), Span(WINDOW.start_ms, last.end_ms)))
    assert pq.read_metadata(combine(made).path).num_row_groups == 3
    assert list(differences(made, select(made))) == []


def test_an_untouched_combined_file_is_equal_to_its_chunks(loaded):
    for choice in ({}, {"zone": parse_zone("Europe/Zurich")}, {"from_index": 2}):
        combine(loaded, **choice)
        assert list(differences(loaded, select(loaded, **choice))) == []
    assert combined_agreement(loaded) == (Agreement.EQUAL, "")


LAST_ROW = 2


def tampered(table: pa.Table) -> Iterator[pa.Table]:
    """The table with a volume changed, with a row less at either end, with a row more, and in another order."""
    yield table.set_column(5, table.schema.field("volume"), [[7.0, *table.column("volume").to_pylist()[1:]]])
    yield table.slice(1)
    yield table.slice(0, table.num_rows - 1)
    yield pa.concat_tables([table, table.slice(0, 1)])
    yield pa.concat_tables([table.slice(1), table.slice(0, 1)])


@pytest.mark.parametrize("way", range(5), ids=["value", "first row", "last row", "one more", "order"])
def test_a_combined_file_that_was_tampered_with_is_found_out(loaded, way):
    path = combine(loaded).path
    said = pq.read_metadata(path).metadata
    table = list(tampered(content_of(path)))[way]
    pq.write_table(table.replace_schema_metadata(said), path, store_schema=False)
    [problem] = differences(loaded, select(loaded))
    assert ("the chunks do not" if way == LAST_ROW else "differ from the chunks") in problem
    assert combined_agreement(loaded)[0] is Agreement.DAMAGED


def test_a_combined_file_with_a_flipped_byte_or_a_lost_end_is_found_out(loaded):
    path = combine(loaded).path
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 3] ^= 1
    for damaged in (bytes(flipped), content[:-1], b""):
        path.write_bytes(damaged)
        [problem] = differences(loaded, select(loaded))
        assert problem.startswith("BTCUSDT_1m_all.parquet cannot be read")
        assert "\n" not in problem


def test_a_combined_file_is_told_apart_from_one_that_is_older_or_not_there(loaded):
    assert combined_agreement(loaded)[0] is Agreement.ABSENT
    combine(loaded)
    list(backfill(loaded, FakeSource(), span("2020-01-06", "2020-01-07")))
    agreement, detail = combined_agreement(loaded)
    assert agreement is Agreement.OLDER
    assert detail == (
        "it holds klines up to 2020-01-05T23:59Z, its chunks go on to 2020-01-06T23:59Z; "
        "1 chunk written after it, the first of 2020-01-06"
    )


def test_one_that_is_older_and_has_a_column_of_another_name_is_older(loaded):
    path = combine(loaded, to_index=2).path
    path.replace(path.with_name("BTCUSDT_1m_all.parquet"))
    path = path.with_name("BTCUSDT_1m_all.parquet")
    path.write_bytes(path.read_bytes().replace(b"open_time", b"open_tame"))
    assert combined_agreement(loaded).agreement is Agreement.OLDER


def test_a_combined_file_that_lacks_a_correction_names_the_first_day_that_was_written_after_it(loaded):
    combine(loaded)
    list(backfill(loaded, FakeSource(), WINDOW, refetch=True))
    assert combined_agreement(loaded) == (Agreement.OLDER, "1 chunk written after it, the first of 2020-01-03")


def test_a_combined_file_of_other_chunks_that_are_no_newer_is_older_too(loaded):
    path = combine(loaded).path
    list(backfill(loaded, FakeSource(), WINDOW, refetch=True))
    os.utime(path)
    agreement, detail = combined_agreement(loaded)
    assert (agreement, detail) == (Agreement.OLDER, "it was made of other chunks than those that are stored now")


def test_a_dataset_without_chunks_has_no_combined_file(made):
    assert combined_agreement(made)[0] is Agreement.ABSENT


def test_a_damaged_chunk_is_not_blamed_on_the_combined_file(loaded):
    combine(loaded)
    loaded.chunk_path(day("2020-01-04")).unlink()
    agreement, problem = combined_agreement(loaded)
    assert agreement is Agreement.UNKNOWN
    assert "missing" in problem
