"""Beside another load, or live mode, nothing fails for what the other did, and growth is never called damage."""

import json
import multiprocessing
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.findings import Severity
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.loading.day import DayLoader
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.loading.load_days import backfill, load_days
from market_data_pipeline.core.loading.plan import Outcome, Task, plan_load
from market_data_pipeline.core.proof.combined import Agreement, combined_agreement
from market_data_pipeline.core.proof.prove import prove
from market_data_pipeline.core.proof.repair import repair
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.store.combined import combine, select
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import REST, FakeSource, changed, day, klines_of, span, whole
from market_data_pipeline_tests.core.store.test_combined import BEFORE_IT_READS, Disturbed

TODAY = day("2024-03-05")
NOW, LATER = "2024-03-05T12:00Z", "2024-03-05T12:10Z"
WINDOW = Span(day("2024-03-03").start_ms, TODAY.end_ms)
EARLIER = span("2024-02-20", "2024-02-22")
Move = Callable[[], object]


def opened(root: Path) -> DatasetStore:
    """The dataset as another process opens it."""
    store = Store(root, manifest_interval_s=0)
    return store.open(store.find(Market.SPOT, "BTC/USDT"))


def load(store: DatasetStore, window: Span = WINDOW, *, now: str = NOW) -> None:
    with store.loading(window):
        for result in backfill(store, FakeSource(now=now), window):
            assert result.outcome in {Outcome.LOADED, Outcome.UNCHANGED, Outcome.OPEN}, result


@pytest.fixture
def mine(made: DatasetStore) -> DatasetStore:
    """Two days and the first half of today, in the hands of one process."""
    load(made)
    made.refresh()
    return made


def last_minute(store: DatasetStore) -> int:
    return int(open_times(store.read(TODAY).klines)[-1])


def moves_of_others(root: Path) -> dict[str, Move]:
    """What another process may rightly do at any moment."""
    return {
        "today grows": lambda: load(opened(root), now=LATER),
        "an earlier start": lambda: load(opened(root), EARLIER),
        "days are read again": lambda: replaced(root),
        "all of them": lambda: [load(opened(root), now=LATER), load(opened(root), EARLIER), replaced(root)],
    }


def replaced(root: Path) -> None:
    """A day that is over gets another chunk, as when the exchange corrected a value."""
    other, on = opened(root), day("2024-03-04")
    fetched = FetchedDay(Task(on, (whole(on),)), changed(klines_of(whole(on)), "volume", 7, 4711.0), REST)
    assert loader_of(other).load(fetched).revision
    other.flush()


def loader_of(store: DatasetStore) -> DayLoader:
    return DayLoader(store, FakeSource().life(), TODAY.start_ms + 700 * MINUTE_MS)


MOVES = ["today grows", "an earlier start", "days are read again", "all of them"]


@pytest.mark.parametrize("move", MOVES)
def test_what_another_process_did_since_the_dataset_was_opened_is_no_damage(tmp_path, mine, move):
    combine(mine)
    again = opened(tmp_path)
    moves_of_others(tmp_path)[move]()
    assert all(mine.is_intact(mine.dataset.day(key)) for key in mine.entries)
    proof = prove(again)
    assert proof.ok, [*proof.verification.errors, proof.combined_problem]
    assert not proof.needs_repair
    assert proof.warnings == ()


@pytest.mark.parametrize("move", MOVES)
def test_a_repair_sets_nothing_aside_that_another_process_wrote_or_renamed(tmp_path, mine, move):
    proof = prove(mine)
    chunks = mine.folder / "chunks"
    foreign = chunks / "mine.txt"
    foreign.write_text("mine")
    moves_of_others(tmp_path)[move]()
    before = sorted(path for path in chunks.iterdir() if path != foreign)
    ended = list(repair(mine, proof, lambda _: FakeSource(now=LATER), source="rest",
                        on_load=lambda _: None, on_day=lambda _: None))  # fmt: skip
    assert [one.what for one in ended] == ["mine.txt"]
    assert sorted(chunks.iterdir()) == before
    assert all(mine.quarantine(path) is None for path in before)


@pytest.mark.parametrize("move", MOVES)
def test_a_combined_file_is_written_of_what_is_stored_when_it_is_written(tmp_path, mine, move):
    selection = select(mine)
    combined = combine(Disturbed(mine, moves_of_others(tmp_path)[move], looks=BEFORE_IT_READS))
    expected = [mine.read(mine.dataset.day(entry.day)).klines for entry in selection.entries]
    with pq.ParquetFile(combined.path) as file:
        assert file.read().num_rows == combined.rows == sum(klines.num_rows for klines in expected)
    agreed = combined_agreement(opened(tmp_path)).agreement
    # With an earlier start there are days that the selection did not have.
    assert agreed is (Agreement.EQUAL if "start" not in move and "all" not in move else Agreement.OLDER)


def test_a_combined_file_that_is_damaged_is_called_so_though_its_chunks_were_renamed(tmp_path, mine):
    path = combine(mine).path
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    opened(tmp_path).note_requested(whole(day("2024-03-03")), date(2024, 2, 20))
    assert combined_agreement(mine).agreement is Agreement.DAMAGED


@pytest.mark.parametrize("damage", ["gone", "flipped"])
def test_damage_stays_damage_though_another_process_moved_the_start(tmp_path, mine, damage):
    opened(tmp_path).note_requested(whole(day("2024-03-03")), date(2024, 2, 20))
    [path] = mine.folder.glob("chunks/*2024-03-04.parquet")
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert [found.day for found in verify(mine).errors] == ["2024-03-04"]
    assert not mine.is_intact(day("2024-03-04"))


# --- two that load one day


def test_a_load_of_today_keeps_the_minutes_that_live_mode_added_meanwhile(tmp_path, mine):
    """Planned before, ended after."""
    planned = plan_load(mine, FakeSource(now=NOW), WINDOW, refetch=True)
    load(opened(tmp_path), now=LATER)
    assert {result.outcome for result in load_days(planned)} == {Outcome.LOADED}
    assert last_minute(mine) == TODAY.start_ms + 729 * MINUTE_MS
    assert verify(opened(tmp_path)).ok


def test_a_load_keeps_the_newest_minutes_that_the_exchange_had_for_another_one_sooner(tmp_path, mine):
    load(opened(tmp_path), now=LATER)
    late = FakeSource(now=LATER, missing=[span("2024-03-05T12:08Z", "2024-03-05T12:10Z")])
    ended = list(load_days(plan_load(mine, late, WINDOW, refetch=True)))
    assert {result.outcome for result in ended} == {Outcome.LOADED}
    assert last_minute(mine) == TODAY.start_ms + 729 * MINUTE_MS


def test_a_day_that_another_process_writes_after_it_was_encoded_is_encoded_again(tmp_path, mine):
    """Its newest values stay: those that were kept when it was encoded are older."""
    newest = Span(TODAY.start_ms + 720 * MINUTE_MS, TODAY.start_ms + 721 * MINUTE_MS)
    loader, fetched = loader_of(mine), FetchedDay(Task(TODAY, (newest,)), klines_of(newest), REST)
    encoded = loader.encoder(fetched)
    other, one = opened(tmp_path), Span(TODAY.start_ms, TODAY.start_ms + MINUTE_MS)
    corrected = changed(klines_of(one), "volume", 0, 4711.0)
    assert loader_of(other).load(FetchedDay(Task(TODAY, (one,)), corrected, REST)).revision
    result = loader.publish(fetched, encoded)
    assert (result.outcome, result.revision) == (Outcome.LOADED, None)
    klines = mine.read(TODAY).klines
    assert klines.column("volume")[0].as_py() == 4711.0
    assert last_minute(mine) == newest.start_ms


def test_minutes_that_the_exchange_has_no_more_are_still_not_lost(mine):
    gone = FakeSource(now=NOW, missing=[span("2024-03-04T01:00Z", "2024-03-04T02:00Z")])
    ended = {result.day.key: result for result in load_days(plan_load(mine, gone, WINDOW, refetch=True))}
    assert ended["2024-03-04"].outcome is Outcome.FAILED
    assert "the exchange now lacks 60 minutes" in ended["2024-03-04"].error
    assert mine.read(day("2024-03-04")).entry.rows == 1440


# --- days that a load is about to load


def test_days_that_a_load_is_about_to_load_are_no_errors_until_it_ends(tmp_path, mine):
    other = opened(tmp_path)
    with other.loading(EARLIER):
        plan_load(other, FakeSource(now=NOW), EARLIER)
        result = verify(mine)
        assert result.ok
        [notice] = [found for found in result.findings if found.severity is Severity.NOTICE]
        assert (notice.day, "2,880 requested minutes" in notice.problem) == ("2024-02-20", True)
    assert [found.day for found in verify(mine).errors] == ["2024-02-20", "2024-02-21"]


def test_open_minutes_that_a_load_is_about_to_load_are_no_errors_until_it_ends(tmp_path, mine):
    other = opened(tmp_path)
    with other.loading(WINDOW):
        plan_load(other, FakeSource(now=LATER), WINDOW)
        assert verify(mine).ok
    assert [found.day for found in verify(mine).errors] == [TODAY.key]


def test_what_a_load_failed_to_explain_is_an_error_while_another_one_runs(tmp_path, mine):
    hole = span("2024-03-04T01:00Z", "2024-03-04T02:00Z")
    fresh = Store(tmp_path / "other", manifest_interval_s=0).create(
        Market.SPOT, "BTC/USDT", zone=mine.dataset.zone, start=date(2024, 3, 1)
    )
    list(backfill(fresh, FakeSource(now=NOW, missing=[hole], unproven=True), WINDOW))
    with fresh.loading(WINDOW):
        assert [found.day for found in verify(fresh).errors] == ["2024-03-04"]


def hold_a_load(root: str) -> None:
    """A process that is killed in the middle of its load."""
    store = opened(Path(root))
    with store.loading(EARLIER):
        plan_load(store, FakeSource(now=NOW), EARLIER)
        os._exit(9)


def test_a_load_whose_process_was_killed_is_under_way_no_more(tmp_path, mine):
    process = multiprocessing.get_context("spawn").Process(target=hold_a_load, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == 9
    loading = mine.folder / "loading"
    assert len(list(loading.iterdir())) == 1
    assert [found.day for found in verify(mine).errors] == ["2024-02-20", "2024-02-21"]
    with opened(tmp_path).loading(WINDOW):
        assert len(list(loading.iterdir())) == 1
    assert list(loading.iterdir()) == []


# --- real processes


def live_on(root: str, seconds: int) -> None:
    """Publish today's chunk again and again, a minute longer each time."""
    store = opened(Path(root))
    for minute in range(seconds):
        load(store, now=f"2024-03-05T{13 + minute // 60}:{minute % 60:02d}Z")


def start_earlier(root: str, times: int) -> None:
    for back in range(times):
        first = date(2024, 2, 28 - back)
        load(opened(Path(root)), span(first.isoformat(), f"{first.isoformat()}T00:05Z"))


def test_a_dataset_is_proved_and_combined_while_processes_write_and_rename_it(tmp_path, mine):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=live_on, args=(str(tmp_path), 60)),
                 spawn.Process(target=start_earlier, args=(str(tmp_path), 20))]  # fmt: skip
    for process in processes:
        process.start()
    looks = 0
    while any(process.is_alive() for process in processes):
        store = opened(tmp_path)
        assert store.warnings == []
        combine(store)
        proof = prove(store)
        assert proof.verification.errors == []
        assert proof.combined in {Agreement.EQUAL, Agreement.OLDER, Agreement.UNKNOWN}, proof.combined_problem
        assert proof.verification.strangers == []
        looks += 1
    assert [process.exitcode for process in processes] == [0, 0]
    assert looks > 1
    assert prove(opened(tmp_path)).ok
    chunks = json.loads((mine.folder / "manifest.json").read_bytes())["chunks"]
    assert [chunk["day"] for chunk in chunks] == sorted(opened(tmp_path).entries)
