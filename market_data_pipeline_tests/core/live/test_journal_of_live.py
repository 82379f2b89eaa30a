"""The journal of live mode over HTTP: what readers see, what a kill leaves, what a backfill beside it does.

A copy of the data root, taken while the process runs, is what a kill or a power cut at that instant leaves.
"""

import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from market_data_pipeline.core.klines.coverage import Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS, day_at, parse_zone
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.resolve import dataset_of, resolve
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.status import status_of
from market_data_pipeline.instance.composition import live_market_of, opener_of, store_of
from market_data_pipeline.reader import open_dataset
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.support import Simulate, at, chunk_files

pytestmark = pytest.mark.timeout(300)
NOON = "2024-05-15T12:00:05"
TODAY = "2024-05-15"


class Place(NamedTuple):
    """A data root of an exchange."""

    running: RunningExchange
    root: Path

    @property
    def settings(self) -> Settings:
        url = self.running.url
        return Settings(market_data_dir=self.root, market_data_exchange_url=url, manifest_write_interval_sec=0)

    @property
    def now_ms(self) -> int:
        return self.running.exchange.clock.now_ms()

    @property
    def journal(self) -> Path:
        return self.root / "binanceusdm" / ".journal"

    def segments(self) -> list[Path]:
        return sorted(self.journal.glob("*.journal"))

    def copy(self, name: str) -> "Place":
        """What is on disk now, in a data root of its own."""
        shutil.copytree(self.root, self.root.with_name(name))
        return Place(self.running, self.root.with_name(name))

    def load(self, pair: str = "BTC/USDT", zone: str = "UTC", inside: str | None = None) -> DatasetStore:
        """Backfill the day of an instant, as far as it is over."""
        on = parse_zone(zone)
        day = day_at(on, at(inside) if inside else self.now_ms)
        resolved = resolve(opener_of(self.settings, "rest"), Market.FUTURES, pair, strict=True)
        try:
            window = Span(day.start_ms, min(day.end_ms, self.now_ms))
            store = dataset_of(store_of(self.settings), resolved, zone=on, window=window)
            assert [result.error for result in backfill(store, resolved.source, window)] == [None]
            return store
        finally:
            resolved.source.close()

    def open(self, pair: str = "BTC/USDT") -> DatasetStore:
        store = store_of(self.settings)
        dataset = store.find(Market.FUTURES, pair)
        assert dataset is not None
        return store.open(dataset)

    def follow(self, *pairs: str, who: str = "a test") -> LiveMarket:
        live = live_market_of(self.settings, Market.FUTURES, who)
        assert live.follow([self.open(pair).dataset for pair in pairs or ("BTC/USDT",)]) == {}
        return live

    def minutes(self, live: LiveMarket, until: str) -> Iterator[Update]:
        """One tick for each minute until the instant, each with what comes after it."""
        while self.now_ms < at(until):
            yield from tick(live)
            live.flush()
            self.running.exchange.clock.advance(60)

    def newest_read(self, pair: str = "BTC/USDT") -> int:
        klines = open_dataset(pair, market="futures", root=self.root).to_arrow("2024-05-15", "2024-05-17")
        times = klines.column("open_time").cast("int64").to_pylist()
        assert times == list(range(times[0], times[-1] + MINUTE_MS, MINUTE_MS))
        return int(times[-1])

    def newest_in_chunk(self, day: str = TODAY) -> int:
        return int(pq.read_table(chunk_files(self.root)[day]).column("open_time")[-1].as_py())


def tick(live: LiveMarket) -> list[Update]:
    stopped = threading.Event()
    edge_ms = live.await_minute(stopped, longest_s=0.5)
    assert edge_ms is not None
    return list(live.tick(edge_ms, patience_s=0, stopped=stopped))


@pytest.fixture
def place(simulate: Simulate, tmp_path: Path) -> Place:
    running = simulate(now=datetime.fromisoformat(NOON).replace(tzinfo=UTC), weights=False)
    return Place(running, tmp_path / "root")


def test_readers_see_each_minute_at_once_and_chunks_are_at_most_a_quarter_of_an_hour_old(place: Place) -> None:
    place.load()
    live = place.follow()
    ages = []
    for update in place.minutes(live, "2024-05-15T12:40"):
        assert update.error is None
        newest_ms = place.now_ms // MINUTE_MS * MINUTE_MS - MINUTE_MS
        assert update.last_open_ms == place.newest_read() == newest_ms
        store = place.open()
        assert status_of(store).newest_open_ms == newest_ms
        ages.append((newest_ms - place.newest_in_chunk()) // MINUTE_MS)
        assert verify(store).findings == []
        assert len(place.segments()) <= 2
    assert max(ages) <= 15
    live.close()
    assert place.newest_in_chunk() == at("2024-05-15T12:38")
    assert list(place.journal.iterdir()) == []


def test_the_requested_minutes_are_noted_once_an_hour_and_at_the_end(place: Place) -> None:
    place.load()
    live, noted = place.follow(), [place.open().dataset.requested[-1].end_ms]
    for update in place.minutes(live, "2024-05-15T14:30"):
        assert update.error is None
        ends_ms = [span.end_ms for span in place.open().dataset.requested]
        assert len(ends_ms) == 1
        if ends_ms[0] != noted[-1]:
            noted += ends_ms
            assert ends_ms[0] <= place.newest_in_chunk() + MINUTE_MS
    hours = [(later - earlier) // MINUTE_MS for earlier, later in zip(noted, noted[1:], strict=False)]
    assert len(hours) == 2
    assert all(60 <= minutes < 75 for minutes in hours)
    live.close()
    assert place.open().dataset.requested[-1].end_ms == place.newest_in_chunk() + MINUTE_MS == at("2024-05-15T14:29")


def test_what_a_kill_leaves_at_any_minute_is_read_and_then_folded_by_the_next(place: Place) -> None:
    pairs = ("BTC/USDT", "ETH/USDT", "BNB/USDT")
    for pair in pairs:
        place.load(pair)
    live = place.follow(*pairs)
    left = []
    for number in range(16):
        tick(live)
        left.append(place.copy(f"killed after the tick {number}"))
        live.flush()
        left.append(place.copy(f"killed after folding {number}"))
        place.running.exchange.clock.advance(60)
    live.close()
    assert any(len(killed.segments()) for killed in left)
    for number, killed in enumerate(left):
        newest_ms = at("2024-05-15T11:59") + number // 2 * MINUTE_MS
        assert {killed.newest_read(pair) for pair in pairs} == {newest_ms}
        # One of the three alone is followed: what was left of the others is not lost either.
        killed.follow("BTC/USDT").close()
        assert killed.segments() == []
        for pair in pairs:
            store = killed.open(pair)
            assert store.entries[TODAY].last_open_time == newest_ms
            assert verify(store).findings == []


def test_what_a_kill_leaves_of_a_day_that_is_over_by_now_is_kept_where_its_chunk_was_not_loaded(place: Place) -> None:
    place.load()
    list(place.minutes(place.follow(), "2024-05-15T12:10"))
    killed = place.copy("killed")
    newest_ms = killed.newest_read()
    killed.running.exchange.clock.advance(86_400)
    store, resolved = (
        killed.open(),
        resolve(opener_of(killed.settings, "rest"), Market.FUTURES, "BTC/USDT", strict=True),
    )
    window = Span(at("2024-05-15T09:00"), at("2024-05-15T10:00"))
    list(backfill(store, resolved.source, window, refetch=True))
    resolved.source.close()
    assert store.entries[TODAY].minutes_absent(Kind.OPEN) == 0
    killed.follow().close()
    assert killed.segments() == []
    assert killed.newest_read() == newest_ms


def test_a_backfill_beside_live_mode_counts_before_the_journal(place: Place) -> None:
    place.load()
    live = place.follow()
    list(place.minutes(live, "2024-05-15T12:06"))
    place.load()
    assert place.newest_in_chunk() == at("2024-05-15T12:05")
    updates = list(place.minutes(live, "2024-05-15T12:09"))
    assert [(update.added, update.error) for update in updates[1:]] == [(1, None)] * (len(updates) - 1)
    live.close()
    store = place.open()
    assert (store.revisions(), verify(store).findings) == ([], [])
    assert store.entries[TODAY].rows == 12 * 60 + 8


def test_a_value_that_changes_while_only_the_journal_has_it_is_a_revision_in_the_ledger(place: Place) -> None:
    place.load()
    live = place.follow()
    list(place.minutes(live, "2024-05-15T12:04"))
    place.running.exchange.faults = {"provisional": 1}
    place.running.exchange.faults.provisional_seconds = 30
    list(place.minutes(live, "2024-05-15T12:05"))
    assert place.open().revisions() == []
    assert place.newest_in_chunk() < at("2024-05-15T12:03")
    place.running.exchange.faults = {}
    updates = list(place.minutes(live, "2024-05-15T12:08"))
    live.close()
    assert sum(update.revised for update in updates) == 1
    [revision] = place.open().revisions()
    assert revision.minutes == (Span(at("2024-05-15T12:03"), at("2024-05-15T12:04")),)
    assert verify(place.open()).findings == []


@pytest.mark.parametrize(
    ("now", "zone", "until", "day", "minutes"),
    [
        ("2024-05-15T23:50:05", "UTC", "2024-05-16T00:12", "2024-05-15", 1440),
        ("2024-10-27T22:50:05", "Europe/Zurich", "2024-10-27T23:12", "2024-10-27", 1500),
        ("2024-03-31T21:50:05", "Europe/Zurich", "2024-03-31T22:12", "2024-03-31", 1380),
    ],
)
def test_a_day_that_ends_is_whole_and_once_confirmed_that_of_a_backfill(
    simulate: Simulate, tmp_path: Path, now: str, zone: str, until: str, day: str, minutes: int
) -> None:
    running = simulate(now=datetime.fromisoformat(now).replace(tzinfo=UTC), weights=False)
    place, other = Place(running, tmp_path / "root"), Place(running, tmp_path / "other")
    place.load(zone=zone)
    live = place.follow()
    updates = list(place.minutes(live, until))
    assert {update.error for update in updates} == {None}
    assert place.open().entries[day].rows == minutes
    live.close()
    assert verify(place.open()).findings == []
    for each in (place, other):
        each.load(zone=zone, inside=now)
    assert chunk_files(place.root)[day].read_bytes() == chunk_files(other.root)[day].read_bytes()


def test_a_journal_that_takes_nothing_is_one_line_and_the_next_tick_heals(place: Place) -> None:
    place.load()
    live = place.follow()
    place.journal.write_text("a file where the folder should be")
    [first] = tick(live)
    place.running.exchange.clock.advance(60)
    [refused] = tick(live)
    assert first.error is None, "there was no new minute"
    assert refused.error is not None
    assert "\n" not in refused.error
    assert (refused.added, refused.may_pass) == (0, True)
    place.journal.unlink()
    place.running.exchange.clock.advance(60)
    [healed] = tick(live)
    assert (healed.added, healed.error) == (2, None)
    live.close()
    assert place.newest_read() == at("2024-05-15T12:01")


def test_a_disk_that_is_full_is_one_line_and_the_next_tick_heals(simulate: Simulate, small_disk: Path) -> None:
    running = simulate(now=datetime.fromisoformat(NOON).replace(tzinfo=UTC), weights=False)
    place = Place(running, small_disk / "root")
    place.load()
    live = place.follow()
    tick(live)
    filling = small_disk / "filling"
    filling.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    for _ in range(3):
        running.exchange.clock.advance(60)
        [refused] = tick(live)
        assert "No space left" in (refused.error or "")
        assert "\n" not in (refused.error or "")
        assert len(place.segments()) <= 1
    filling.unlink()
    running.exchange.clock.advance(60)
    [healed] = tick(live)
    assert (healed.added, healed.error) == (4, None)
    assert place.newest_read() == at("2024-05-15T12:03")
    live.close()
    assert verify(place.open()).findings == []


def test_two_processes_with_datasets_of_one_market_have_segments_of_their_own(place: Place) -> None:
    place.load("BTC/USDT")
    place.load("ETH/USDT")
    one, other = place.follow("BTC/USDT", who="one"), place.follow("ETH/USDT", who="other")
    for _ in range(4):
        assert [update.error for live in (one, other) for update in tick(live)] == [None, None]
        place.running.exchange.clock.advance(60)
    assert len(place.segments()) == 2
    killed = place.copy("killed")
    one.close()
    assert len(place.segments()) == 1
    assert (place.newest_read("BTC/USDT"), place.newest_read("ETH/USDT")) == (at("2024-05-15T12:02"),) * 2
    other.close()
    assert list(place.journal.iterdir()) == []
    # The journal of the two, who are dead there, is of use to a third one.
    third = killed.follow("ETH/USDT")
    assert killed.segments() == []
    assert killed.newest_in_chunk() == at("2024-05-15T12:02")
    third.close()


def test_klines_of_a_damaged_chunk_stay_in_the_journal_until_the_day_is_loaded_again(place: Place) -> None:
    place.load()
    live = place.follow()
    list(place.minutes(live, "2024-05-15T12:01"))
    tick(live)
    killed = place.copy("killed")
    live.close()
    chunk = chunk_files(killed.root)[TODAY]
    chunk.write_bytes(chunk.read_bytes()[:-100])
    killed.follow().close()
    assert len(killed.segments()) == 1
    killed.load()
    killed.follow().close()
    assert killed.segments() == []
    store = killed.open()
    assert store.entries[TODAY].minutes_absent(Kind.UNEXPLAINED) == 0
    assert verify(store).findings == []


def killed_with_klines_of_two(place: Place) -> Place:
    """What a kill leaves of live mode of BTC/USDT and ETH/USDT while the journal has klines of both."""
    for pair in ("BTC/USDT", "ETH/USDT"):
        place.load(pair)
    live = place.follow("BTC/USDT", "ETH/USDT")
    list(place.minutes(live, "2024-05-15T12:01"))
    tick(live)
    killed = place.copy("killed")
    live.close()
    assert {killed.newest_read(pair) for pair in ("BTC/USDT", "ETH/USDT")} == {at("2024-05-15T12:00")}
    return killed


@pytest.mark.parametrize("is_made_again", [False, True])
def test_klines_of_a_dataset_that_was_deleted_keep_no_segment(place: Place, is_made_again: bool) -> None:
    killed = killed_with_klines_of_two(place)
    shutil.rmtree(killed.root / "binanceusdm" / "ETHUSDT")
    if is_made_again:
        killed.load("ETH/USDT", zone="Europe/Zurich")
    killed.follow("BTC/USDT").close()
    assert killed.segments() == []
    assert killed.newest_in_chunk() == at("2024-05-15T12:00")


def test_klines_of_a_dataset_whose_file_alone_is_gone_stay_in_the_journal(place: Place) -> None:
    killed = killed_with_klines_of_two(place)
    dataset = killed.root / "binanceusdm" / "ETHUSDT" / "1m" / "dataset.json"
    content = dataset.read_bytes()
    dataset.unlink()
    killed.follow("BTC/USDT").close()
    assert len(killed.segments()) == 1
    dataset.write_bytes(content)
    killed.follow("BTC/USDT").close()
    assert killed.segments() == []
    assert killed.newest_read("ETH/USDT") == at("2024-05-15T12:00")
