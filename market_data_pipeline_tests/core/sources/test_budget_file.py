"""The budget in a file: what is read of it, who writes it, and where it goes when its folder takes it no more."""

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from market_data_pipeline.core.errors import BudgetUnavailable
from market_data_pipeline.core.sources.budgets.budget import Budget
from market_data_pipeline.core.sources.budgets.file import BudgetFile
from market_data_pipeline_tests.core.sources.locking import locked

NOW_S = 1_000.0
LOST = Budget(7, 95, 0.0)


class Places:
    """Two folders for a budget, and what was warned of."""

    def __init__(self, root: Path) -> None:
        self.first, self.second = root / "first", root / "second"
        self.warnings: list[str] = []
        self.waited_for: list[Path] = []
        self.now_s = NOW_S

    @property
    def path(self) -> Path:
        return self.first / "spot.json"

    def budget(self, *folders: Path) -> BudgetFile:
        """As another process would begin with it."""
        return BudgetFile(
            "spot",
            folders=folders or (self.first, self.second),
            lost=lambda: Budget(LOST.minute, LOST.used, LOST.closed_until_s),
            warn=self.warnings.append,
            tell=self.tell,
            clock_s=lambda: self.now_s,
        )

    def tell(self, path: Path) -> str:
        self.waited_for.append(path)
        return "process 7 holds it"

    def opened(self, *folders: Path) -> BudgetFile:
        budget = self.budget(*folders)
        budget.open()
        return budget


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def seen(budget: BudgetFile) -> tuple[int, int, float]:
    found = budget.look()
    assert found.now_s == NOW_S
    return found.minute, found.used, found.closed_until_s


def spend(budget: BudgetFile, minute: int, used: int, closed_until_s: float = 0.0) -> None:
    with budget.changing() as found:
        assert found.now_s == NOW_S
        found.minute, found.used, found.closed_until_s = minute, used, closed_until_s


def spent_by(budget: BudgetFile, used: int) -> None:
    with budget.changing() as found:
        found.minute, found.used = 5, used


def test_what_one_process_spends_another_sees(places: Places) -> None:
    one, other = places.opened(), places.opened()
    assert seen(one) == (0, 0, 0.0)
    spend(one, 5, 40, 1060.0)
    assert seen(other) == (5, 40, 1060.0) == seen(places.budget())
    spend(other, 5, 41)
    assert seen(one) == (5, 41, 0.0)
    assert places.warnings == []


def test_before_it_is_opened_nothing_is_written_and_what_was_spent_is_added_then(places: Places) -> None:
    late = places.budget()
    spend(late, 5, 40, 1060.0)
    assert seen(late) == (5, 40, 1060.0)
    assert not places.first.exists()
    spend(places.opened(), 5, 10, 1030.0)
    late.open()
    assert seen(late) == (5, 50, 1060.0)
    # What was added is not added again.
    late.open()
    assert seen(late) == (5, 50, 1060.0)


def test_folders_that_do_not_exist_are_made(places: Places) -> None:
    deep = places.first / "of" / "this" / "machine"
    spend(places.opened(deep), 5, 40)
    assert seen(places.budget(deep)) == (5, 40, 0.0)
    assert places.warnings == []


@pytest.mark.parametrize(("of_file", "used"), [(4, 40), (5, 50), (6, 50)])
def test_what_was_spent_in_a_later_minute_begins_that_minute(places: Places, of_file: int, used: int) -> None:
    late = places.budget()
    spend(late, 5, 40)
    spend(places.opened(), of_file, 10)
    late.open()
    assert seen(late) == (max(of_file, 5), used, 0.0)


@pytest.mark.parametrize("content", [b"", b"{", b'{"minute": "5", "used": 0, "closed_until_s": 0}'])
def test_a_damaged_file_is_lost_and_written_anew(places: Places, content: bytes) -> None:
    budget = places.opened()
    places.path.write_bytes(content)
    assert seen(budget) == (LOST.minute, LOST.used, LOST.closed_until_s)
    with budget.changing() as found:
        assert (found.minute, found.used) == (LOST.minute, LOST.used)
    # Nothing was changed in the block, and the damage is gone all the same.
    assert seen(places.opened()) == (LOST.minute, LOST.used, LOST.closed_until_s)
    assert places.path.read_bytes() != content


def test_a_file_that_is_gone_is_an_unspent_budget(places: Places) -> None:
    budget = places.opened()
    spend(budget, 5, 40)
    places.path.unlink()
    assert seen(budget) == (0, 0, 0.0)


def test_what_is_no_file_is_shown_as_lost_and_left_with_a_reason(places: Places) -> None:
    budget = places.opened()
    spend(budget, 5, 40)
    places.path.unlink()
    places.path.mkdir()
    assert seen(budget) == (LOST.minute, LOST.used, LOST.closed_until_s)
    assert places.warnings == []
    spend(budget, 5, 41)
    [warning] = places.warnings
    assert warning.startswith(f"the request weight cannot be kept in {places.first} (")
    assert warning.endswith(f"); it is kept in {places.second}")
    assert seen(budget) == (5, 41, 0.0) == seen(places.budget(places.second))


def test_what_cannot_be_written_any_more_is_kept_in_the_next_folder_and_said(
    places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    budget = places.opened()
    with budget.changing() as found:
        found.minute, found.used = 5, 40
        places.path.unlink()
        places.path.mkdir()
    [warning] = places.warnings
    assert warning.startswith(f"the request weight cannot be kept in {places.first} (")
    assert warning.endswith(f"); it is kept in {places.second}")
    assert [record.getMessage() for record in caplog.records] == [warning]
    assert seen(budget) == (5, 40, 0.0)
    with budget.changing() as found:
        found.used += 1
    assert seen(budget) == (5, 41, 0.0) == seen(places.budget(places.second))


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
@pytest.mark.parametrize("has_second", [True, False])
def test_after_a_minute_the_best_place_is_used_again_by_those_who_left_it(places: Places, has_second: bool) -> None:
    folders = (places.first, places.second) if has_second else (places.first,)
    budget = places.opened(*folders)
    places.path.unlink()
    places.path.mkdir()
    spend(budget, 5, 41, 1300.0)
    places.path.rmdir()
    spend(places.opened(), 5, 10)
    places.now_s += 59
    with budget.changing() as found:
        assert (found.used, found.closed_until_s) == (41, 1300.0)
    places.now_s += 1
    with budget.changing() as found:
        # What nobody else can see is added; what is counted in another folder is there for those who use it.
        assert (found.used, found.closed_until_s) == (10 if has_second else 51, 1300.0)
        found.used = 60
    with places.opened().changing() as found:
        assert (found.used, found.closed_until_s) == (60, 1300.0)
    assert len(places.warnings) == 1


def test_a_place_that_stays_bad_is_said_once(places: Places) -> None:
    places.path.mkdir(parents=True)
    budget = places.opened()
    for number in range(5):
        spent_by(budget, number)
        places.now_s += 60
    assert budget.look().used == 4
    assert len(places.warnings) == 1


def test_a_pipe_in_its_place_is_not_waited_for(places: Places) -> None:
    budget = places.opened()
    places.path.unlink()
    os.mkfifo(places.path)
    assert seen(budget) == (LOST.minute, LOST.used, LOST.closed_until_s)
    spend(budget, 5, 41)
    assert places.warnings == [
        f"the request weight cannot be kept in {places.first} (it is no file); it is kept in {places.second}"
    ]
    assert stat.S_ISFIFO(places.path.stat().st_mode)


def test_without_a_folder_that_takes_it_each_process_counts_by_itself(places: Places) -> None:
    places.first.write_bytes(b"")
    budget = places.opened(places.first / "budgets")
    spend(budget, 5, 40)
    assert seen(budget) == (5, 40, 0.0)
    [warning] = places.warnings
    assert warning.startswith(f"the request weight cannot be kept in {places.first / 'budgets'} (")
    assert warning.endswith("); this process counts by itself")
    budget.open()
    assert seen(budget) == (5, 40, 0.0)
    assert len(places.warnings) == 1


def test_a_longer_file_gets_the_length_of_a_budget(places: Places) -> None:
    budget = places.opened()
    spend(budget, 5, 40)
    size = places.path.stat().st_size
    places.path.write_bytes(places.path.read_bytes() + b" " * 100)
    assert seen(budget) == (5, 40, 0.0)
    spend(budget, 5, 41)
    assert places.path.stat().st_size == size
    spend(budget, 28_000_000, 2_400, 1_700_000_000.123)
    assert places.path.stat().st_size == size


def test_a_budget_that_did_not_change_is_not_written(places: Places) -> None:
    budget = places.opened()
    spend(budget, 5, 40)
    os.utime(places.path, (1, 1))
    with budget.changing():
        pass
    assert places.path.stat().st_mtime == 1
    spend(budget, 5, 41)
    assert places.path.stat().st_mtime > 1


def test_an_error_in_the_block_changes_nothing_and_frees_the_lock(places: Places) -> None:
    budget = places.opened()
    spend(budget, 5, 40)
    with pytest.raises(KeyError), budget.changing() as found:
        found.used = 99
        raise KeyError
    assert seen(budget) == (5, 40, 0.0)
    spend(places.opened(), 5, 41)
    assert seen(budget) == (5, 41, 0.0)


def test_a_lock_that_another_process_keeps_is_told_once_and_given_up(places: Places) -> None:
    budget, lock = places.opened(), places.path.with_suffix(".lock")
    spend(budget, 5, 40)
    with locked(lock):
        began_s = time.monotonic()
        late = places.opened()
        for _ in range(4):
            with pytest.raises(BudgetUnavailable, match="as .*spot.json is locked: ") as refused, budget.changing():
                pass
        assert time.monotonic() - began_s < 40
        assert places.waited_for == [lock]
        assert str(refused.value).endswith("process 7 holds it")
        assert seen(budget) == (5, 40, 0.0)
    spend(budget, 5, 41)
    with late.changing() as found:
        assert found.used == 41
    # Another folder would be another budget.
    assert places.warnings == []
    assert not places.second.exists()
