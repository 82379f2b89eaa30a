"""Nights: what is new or was replaced is read the same night, all else in turns, and nothing is hidden."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.findings import COVERED, JOINED, MATCHES_MANIFEST, PLAUSIBLE, Severity
from market_data_pipeline.core.klines.table import column, open_times
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.proof.combined import Agreement
from market_data_pipeline.core.proof.rolling import DAY_S, Rolled, Turns, forget_combined, note, roll
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.store.chunks import readings
from market_data_pipeline.core.store.chunks.files import new_chunk
from market_data_pipeline.core.store.combined import combine
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, changed, day, span
from market_data_pipeline_tests.support import flip_a_byte

FIRST, LAST = date(2020, 1, 1), date(2020, 1, 14)
WINDOW = span("2020-01-01", "2020-01-15")
DAY = day("2020-01-05")


@dataclass
class Nights:
    """A dataset and nights of it, by a clock that the test sets."""

    root: Path
    now_s: float
    within_days: int = 7
    most_s: float = 3600
    tick_s: float = 0

    def clock(self) -> float:
        self.now_s += self.tick_s
        return self.now_s

    @property
    def store(self) -> DatasetStore:
        store = Store(self.root)
        dataset = store.find(Market.SPOT, "BTC/USDT")
        assert dataset is not None
        return store.open(dataset)

    def night(self, *, whole: bool = False) -> Rolled:
        """The next night, a day after the one before."""
        self.now_s += DAY_S
        return roll(self.store, Turns(self.within_days, self.most_s, self.clock).begin(whole=whole))

    def read_at(self) -> dict[str, int]:
        return {key: reading.at_s for key, reading in readings.read(self.store.folder).days.items()}

    def read_in(self, night: Callable[[], Rolled]) -> list[str]:
        """The days that this night reads and finds good."""
        before = self.read_at()
        night()
        return sorted(key for key, at_s in self.read_at().items() if before.get(key) != at_s)

    def path(self, key: str = DAY.key) -> Path:
        return self.store.chunk_path(day(key))


@pytest.fixture
def nights(store: Store, tmp_path: Path) -> Nights:
    """Fourteen whole days, of which none was read."""
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    list(backfill(made, FakeSource(), WINDOW))
    return Nights(tmp_path, time.time())


def rot(path: Path) -> None:
    """Change the content of a file and leave its time and size, as a failing disk does."""
    times = path.stat()
    flip_a_byte(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def errors(rolled: Rolled) -> list[tuple[str, str]]:
    return [(finding.check, finding.day) for finding in rolled.verification.errors]


# --- turns


def test_the_first_night_reads_all_and_the_next_ones_each_their_share_the_oldest_first(nights: Nights):
    first = nights.night()
    assert (first.read, first.not_reached, first.verification.findings) == (14, 0, [])
    every = sorted(nights.read_at())
    assert len(every) == 14
    for number in range(7):
        assert nights.read_in(nights.night) == every[2 * number : 2 * number + 2]
    ages = {nights.now_s - at_s for at_s in nights.read_at().values()}
    assert max(ages) < 7 * DAY_S


def test_what_is_not_read_is_counted_as_the_manifest_has_it(nights: Nights):
    nights.night()
    proved, whole = nights.night().verification, verify(nights.store)
    assert (proved.days, proved.rows, proved.size_bytes) == (whole.days, whole.rows, whole.size_bytes)
    assert (proved.absences, proved.findings) == (whole.absences, whole.findings)


def test_after_nights_that_were_missed_all_that_would_be_too_old_is_read(nights: Nights):
    nights.night()
    for _ in range(3):
        nights.night()
    nights.now_s += 3 * DAY_S
    # Six days were read in the three nights, eight days seven days ago.
    assert len(nights.read_in(nights.night)) == 8


def test_what_was_read_while_the_clock_was_years_ahead_is_read_again(nights: Nights):
    nights.night()
    nights.now_s += 1000 * DAY_S
    ahead = nights.read_in(nights.night)
    assert ahead
    nights.now_s -= 1000 * DAY_S
    assert set(ahead) <= set(nights.read_in(nights.night))
    assert max(nights.read_at().values()) <= nights.now_s


def test_a_whole_proof_reads_all_whatever_the_time_is(nights: Nights):
    nights.night()
    nights.most_s = 0
    whole = nights.night(whole=True)
    assert (whole.read, whole.not_reached) == (14, 0)


def test_a_day_that_is_loaded_is_read_the_same_night(nights: Nights):
    nights.night()
    list(backfill(nights.store, FakeSource(), span("2020-01-15", "2020-01-16")))
    # A fifteenth day makes it three a night, of those that were read before.
    assert nights.read_in(nights.night) == ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-15"]


def test_a_chunk_that_is_replaced_is_read_the_same_night(nights: Nights):
    nights.night()
    store, key = nights.store, day("2020-01-09")
    store.publish(new_chunk(store.dataset, key, changed(store.read(key).klines, "trades", 5, 7), [], source="rest"))
    store.flush()
    assert nights.read_in(nights.night) == ["2020-01-01", "2020-01-02", "2020-01-09"]


def test_a_chunk_of_the_last_seconds_is_read_once_more(nights: Nights):
    nights.now_s -= DAY_S
    assert nights.read_in(nights.night) == []
    assert len(nights.read_in(nights.night)) == 14


# --- damage


def test_a_file_that_was_written_to_is_found_the_same_night_and_each_night_after(nights: Nights):
    nights.night()
    flip_a_byte(nights.path("2020-01-12"))
    for _ in range(3):
        assert errors(nights.night()) == [(MATCHES_MANIFEST, "2020-01-12")]


def test_a_file_that_rots_is_found_when_its_turn_comes_and_stays_found(nights: Nights):
    nights.night()
    rot(nights.path("2020-01-05"))
    found = [errors(nights.night()) for _ in range(6)]
    assert found == [[], [], *[[(MATCHES_MANIFEST, "2020-01-05")]] * 4]


def test_what_a_proof_by_hand_finds_damaged_is_damaged_in_the_next_night(nights: Nights):
    nights.night()
    rot(nights.path("2020-01-14"))
    by_hand = verify(nights.store)
    note(nights.store, by_hand, nights.now_s)
    assert errors(nights.night()) == [(MATCHES_MANIFEST, "2020-01-14")]


def test_what_a_proof_by_hand_finds_good_has_had_its_turn(nights: Nights):
    nights.night()
    nights.now_s += DAY_S
    by_hand = verify(nights.store)
    note(nights.store, by_hand, nights.now_s)
    assert set(nights.read_at().values()) == {int(nights.now_s)}


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_file_that_is_gone_or_shorter_is_found_though_there_is_no_time_to_read(nights: Nights, harm):
    nights.night()
    nights.most_s = 0
    harm(nights.path())
    night = nights.night()
    assert errors(night) == [(MATCHES_MANIFEST, DAY.key)]
    assert night.not_reached == 2


def test_a_day_without_a_chunk_is_found_though_there_is_no_time_to_read(nights: Nights):
    nights.most_s = 0
    store = nights.store
    store.note_requested(span("2020-01-15", "2020-01-17"), FIRST)
    assert errors(nights.night()) == [(JOINED, "2020-01-15"), (JOINED, "2020-01-16")]


def test_unexplained_minutes_fail_each_night(store: Store, tmp_path: Path):
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    gap = span("2020-01-02T04:00Z", "2020-01-02T05:00Z")
    list(backfill(made, FakeSource(missing=[gap], unproven=True), span("2020-01-01", "2020-01-04")))
    nights = Nights(tmp_path, time.time())
    for most_s in (3600, 3600, 0):
        nights.most_s = most_s
        assert errors(nights.night()) == [(COVERED, "2020-01-02")]


def test_what_is_hard_to_believe_is_told_also_by_nights_that_do_not_read_it(nights: Nights):
    store = nights.store
    klines = store.read(DAY).klines
    times = open_times(klines)
    volume = np.where((times >= times[100]) & (times < times[130]), 50.0, column(klines, "volume"))
    doubtful = klines.set_column(5, klines.schema.field("volume"), [volume])
    store.publish(new_chunk(store.dataset, DAY, doubtful, [], source="rest"))
    store.flush()
    told = [nights.night().verification.findings for _ in range(4)]
    assert [(finding.check, finding.day, finding.severity) for finding in told[0]] == [
        (PLAUSIBLE, DAY.key, Severity.WARNING)
    ]
    assert told == [told[0]] * 4


# --- time


def test_nothing_is_read_after_the_end_of_the_time_and_that_is_told(nights: Nights):
    nights.most_s = 0
    night = nights.night()
    assert (night.read, night.not_reached) == (0, 14)
    assert night.verification.findings == []
    assert nights.read_at() == {}


def test_chunks_that_are_read_by_no_night_are_a_warning_after_so_many_days(nights: Nights):
    nights.most_s = 0
    found = [nights.night().verification.findings for _ in range(8)]
    assert found[:6] == [[]] * 6
    [late] = found[7]
    assert (late.check, late.day, late.severity) == (MATCHES_MANIFEST, "2020-01-01", Severity.WARNING)
    assert late.problem.startswith("14 chunks not read in full for 7 days: ")


def test_a_warning_ends_with_the_night_that_has_the_time(nights: Nights):
    nights.most_s = 0
    for _ in range(9):
        nights.night()
    nights.most_s = 3600
    assert nights.night().verification.findings == []


def test_the_last_quarter_of_the_time_is_for_chunks_that_are_new(nights: Nights):
    nights.night()
    list(backfill(nights.store, FakeSource(), span("2020-01-15", "2020-01-16")))
    # The clock goes on with each look at it: once when a night begins, once when the dataset's turn comes.
    nights.most_s, nights.tick_s = 1000, 400
    night = nights.night()
    assert (night.read, night.not_reached) == (1, 3)
    assert nights.read_at()["2020-01-15"] > max(at_s for key, at_s in nights.read_at().items() if key != "2020-01-15")


def test_reading_ends_in_the_middle_of_a_dataset(store: Store, tmp_path: Path):
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    window = span("2020-01-01", "2020-08-01")
    list(backfill(made, FakeSource(page_minutes=14_400), window))
    nights = Nights(tmp_path, time.time(), most_s=100, tick_s=0)
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        # One look begins the night, one the dataset; then there is one for each hundred chunks that are new.
        return nights.now_s + (200 if looks > 3 else 0)

    nights.now_s += DAY_S
    night = roll(nights.store, Turns(7, 100, clock).begin())
    assert (night.read, night.not_reached) == (100, 113)
    assert sorted(nights.read_at())[-1] == "2020-04-09"
    assert nights.night().read == 113 + 31


# --- notes


def test_without_notes_all_is_read_again(nights: Nights):
    nights.night()
    path = nights.store.folder / "proof.json"
    for content in (b"", b'{"format": 2}', b"[]"):
        path.write_bytes(content)
        assert nights.night().read == 14
    path.unlink()
    assert nights.night().read == 14


def test_notes_that_cannot_be_written_cost_a_reading_and_nothing_else(nights: Nights):
    (nights.store.folder / "proof.json.tmp").mkdir()
    for _ in range(2):
        night = nights.night()
        assert (night.read, night.verification.ok) == (14, True)


def test_notes_of_days_that_are_gone_are_dropped(nights: Nights):
    nights.night()
    nights.path("2020-01-14").unlink()
    (nights.store.folder / "manifest.json").unlink()
    nights.night()
    assert "2020-01-14" not in nights.read_at()


# --- the combined file


def combined_path(nights: Nights) -> Path:
    store = nights.store
    return combine(store).path


def agreement(rolled: Rolled) -> Agreement | None:
    return rolled.combined.agreement if rolled.combined else None


def compared(nights: Nights) -> int:
    combined = readings.read(nights.store.folder).combined
    return combined.at_s if combined else 0


def test_a_combined_file_is_compared_when_it_is_new_and_then_once_in_a_round(nights: Nights):
    combined_path(nights)
    assert agreement(nights.night()) is Agreement.EQUAL
    times = []
    for _ in range(14):
        assert agreement(nights.night()) is Agreement.EQUAL
        times.append(compared(nights))
    assert len(set(times) - {times[0]}) in {1, 2}
    assert nights.now_s - times[-1] < 7 * DAY_S


def test_a_combined_file_that_was_written_to_is_found_the_same_night(nights: Nights):
    path = combined_path(nights)
    nights.night()
    flip_a_byte(path)
    assert [agreement(nights.night()) for _ in range(3)] == [Agreement.DAMAGED] * 3


def test_a_combined_file_that_rots_is_found_within_a_round_and_at_once_after_a_proof_by_hand(nights: Nights):
    path = combined_path(nights)
    nights.night()
    nights.night()
    rot(path)
    assert Agreement.DAMAGED in [agreement(nights.night()) for _ in range(7)]
    forget_combined(nights.store)
    assert agreement(nights.night()) is Agreement.DAMAGED


def test_a_combined_file_without_time_to_compare_it_has_no_result(nights: Nights):
    combined_path(nights)
    nights.most_s = 0
    assert nights.night().combined is None


def test_a_combined_file_that_is_older_is_told_without_time(nights: Nights):
    combined_path(nights)
    list(backfill(nights.store, FakeSource(), Span(WINDOW.end_ms, WINDOW.end_ms + 86_400_000)))
    nights.most_s = 0
    assert agreement(nights.night()) is Agreement.OLDER
