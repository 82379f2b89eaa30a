"""Notes of readings: they know the very file that was read, wherever it is."""

from dataclasses import replace
from pathlib import Path

import pytest

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.findings import Finding, Severity
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.store.atomic import FileStamp
from market_data_pipeline.core.store.chunks import readings
from market_data_pipeline.core.store.chunks.readings import CombinedReading, Reading, Readings
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.objects import ObjectVersion
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, day, span

DAY = day("2020-01-05")
WRITTEN_S = 1_700_000_000
WRITTEN_NS = WRITTEN_S * 1_000_000_000


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    made = Store(tmp_path).create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=DAY.date)
    list(backfill(made, FakeSource(), span("2020-01-05", "2020-01-06")))
    return made.entries[DAY.key]


def test_an_object_that_another_of_its_size_replaced_within_the_second_is_another(entry: Entry, tmp_path: Path) -> None:
    read = ObjectVersion("one", entry.size_bytes, WRITTEN_NS)
    # However far the clock of this machine is from that of the object store.
    found = Finding("volume", DAY.key, "a minute of no volume", Severity.NOTICE)
    reading = Reading.of(read, entry, WRITTEN_S - 3600, (found,))
    combined = CombinedReading.of(read, WRITTEN_S - 3600)
    assert reading and combined
    noted = Readings({DAY.key: reading}, combined)
    readings.write(tmp_path, noted)
    assert readings.read(tmp_path) == noted
    other = ObjectVersion("two", entry.size_bytes, WRITTEN_NS)
    assert (reading.is_of(read, entry), combined.is_of(read)) == (True, True)
    assert (reading.is_of(other, entry), combined.is_of(other)) == (False, False)


def test_a_file_that_was_written_less_than_two_seconds_before_is_not_noted(entry: Entry) -> None:
    read = FileStamp(WRITTEN_NS, entry.size_bytes, 1)
    assert Reading.of(read, entry, WRITTEN_S + 1.9, ()) is None
    assert CombinedReading.of(read, WRITTEN_S + 1.9) is None
    reading = Reading.of(read, entry, WRITTEN_S + 2.1, ())
    # A network drive may number its files anew.
    assert reading and reading.is_of(FileStamp(WRITTEN_NS, entry.size_bytes, 2), entry)
    assert not reading.is_of(FileStamp(WRITTEN_NS + 1, entry.size_bytes, 1), entry)
    assert not reading.is_of(read, replace(entry, sha256="0" * 64))
