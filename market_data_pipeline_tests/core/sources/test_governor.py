"""However many spend from it, a minute's budget is spent once; what the exchange says counts more than we do."""

import multiprocessing
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.errors import Banned, BudgetUnavailable, SourceUnavailable
from market_data_pipeline.core.sources.budgets.budget import Budget, budget_name
from market_data_pipeline.core.sources.budgets.file import BudgetFile
from market_data_pipeline.core.sources.governor import Governor
from market_data_pipeline_tests.core.sources.locking import locked

MINUTE = 28_000_000
START_S = MINUTE * 60 + 30.0
LIMIT = 95


class Clock:
    """The exchange's clock; stands still until someone waits or a test moves it."""

    def __init__(self, now_s: float = START_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Patience(threading.Event):
    """A stop signal that nobody gives. Waiting for it takes no time: it moves the clock instead."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.waited = clock, []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        assert len(self.waited) < 20, f"still waiting after {self.waited}"
        self.waited.append(timeout)
        self.clock.now_s += timeout
        return False


class Impatience(threading.Event):
    """A stop signal that whoever has to wait gives himself."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def patience(clock) -> Patience:
    return Patience(clock)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "budgets" / f"{budget_name('api.binance.com', 'spot')}.json"


def governor_in(folders: list[Path], name: str, clock: Clock, **options: Any) -> Governor:
    budget_of = partial(BudgetFile, folders=folders, clock_s=clock)
    return Governor(name, budget_of, weight_per_minute=100, clock_s=clock, **options)


def unopened(path: Path, clock: Clock, **options: Any) -> Governor:
    return governor_in([path.parent], path.stem, clock, **options)


def governor_at(path: Path, clock: Clock, **options: Any) -> Governor:
    governor = unopened(path, clock, **options)
    governor.open()
    return governor


def test_a_minute_is_spent_up_to_95_percent_at_once_and_not_further(path, clock, patience):
    governor = governor_at(path, clock)
    assert [governor.pay(weight, patience) for weight in (40, 40, 15)] == [MINUTE] * 3
    assert patience.waited == []
    assert governor.pay(1, patience) == MINUTE + 1
    assert clock.now_s == pytest.approx((MINUTE + 1) * 60, abs=0.5)
    assert clock.now_s > (MINUTE + 1) * 60
    assert governor.used() == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60), st.floats(0, 25)), min_size=1, max_size=30))
def test_no_minute_is_overspent_however_many_governors_pay_from_it(payments):
    clock = Clock()
    patience, spent = Patience(clock), Counter()
    with tempfile.TemporaryDirectory() as root:
        governors = [governor_at(Path(root) / "budget.json", clock) for _ in range(3)]
        for which, weight, later_s in payments:
            patience.waited.clear()
            spent[governors[which].pay(weight, patience)] += weight
            clock.now_s += later_s
    assert max(spent.values()) <= LIMIT
    assert sum(spent.values()) == sum(governor.spent for governor in governors)


def test_no_minute_is_overspent_by_threads(path, clock):
    governors, paid = [governor_at(path, clock) for _ in range(2)], []

    def spend(governor: Governor) -> None:
        impatience = Impatience()
        while minute := governor.pay(1, impatience):
            paid.append(minute)

    threads = [threading.Thread(target=spend, args=(governor,)) for governor in governors * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(paid) == {MINUTE: LIMIT}
    assert sum(governor.spent for governor in governors) == LIMIT == governors[0].used()


def spend_all_there_is(path: str, spent: "multiprocessing.SimpleQueue[int]") -> None:
    governor, impatience = governor_at(Path(path), Clock()), Impatience()
    while governor.pay(1, impatience):
        pass
    spent.put(governor.spent)


def test_no_minute_is_overspent_by_processes(path, clock):
    spawn = multiprocessing.get_context("spawn")
    spent = spawn.SimpleQueue()
    processes = [spawn.Process(target=spend_all_there_is, args=(str(path), spent)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert spent.get() + spent.get() == LIMIT == governor_at(path, clock).used()


def test_a_new_minute_is_given_a_moment_before_it_is_spent_from(path, clock, patience):
    """The exchange's clock and ours agree to about half a round trip."""
    governor = governor_at(path, clock)
    governor.pay(10, patience)
    clock.now_s = (MINUTE + 1) * 60 + 0.1
    assert governor.pay(10, patience) == MINUTE + 1
    assert clock.now_s == pytest.approx((MINUTE + 1) * 60 + 0.15, abs=0.01)


def test_a_request_that_costs_more_than_a_minute_has_goes_alone(path, clock, patience):
    governor = governor_at(path, clock)
    assert governor.pay(200, patience) == MINUTE
    assert governor.pay(1, patience) == MINUTE + 1
    assert governor.pay(200, patience) == MINUTE + 2


def test_each_request_waits_the_extra_time_that_was_asked_for(path, clock, patience):
    governor = governor_at(path, clock, extra_sleep_s=2)
    governor.pay(1, patience)
    governor.pay(1, patience)
    assert patience.waited == [2, 2]


def test_who_has_no_time_for_the_next_minute_is_told_so_at_once(path, clock, patience):
    governor = governor_at(path, clock)
    governor.pay(LIMIT, patience)
    with pytest.raises(SourceUnavailable, match="no request weight is left here for the next 30 s"):
        governor.pay(1, patience, until_s=time.monotonic() + 29)
    assert (patience.waited, governor.used()) == ([], LIMIT)
    assert governor.pay(1, patience, until_s=time.monotonic() + 35) == MINUTE + 1


@pytest.mark.parametrize("weight", [0, 1])
def test_who_has_no_time_for_the_end_of_a_refusal_is_told_that_the_exchange_refuses(path, clock, patience, weight):
    governor = governor_at(path, clock)
    governor.close_for(100)
    with pytest.raises(SourceUnavailable, match="the exchange refuses requests from this IP address for 100 s more"):
        governor.pay(weight, patience, until_s=time.monotonic() + 7)
    assert (patience.waited, governor.used()) == ([], 0)


def test_whose_clock_is_behind_pays_from_the_minute_that_others_are_in(path, clock, patience):
    clock.now_s = (MINUTE + 1) * 60 + 0.5
    ahead, behind = governor_at(path, clock), governor_at(path, late := Clock((MINUTE + 1) * 60 - 0.5))
    ahead.pay(90, patience)
    late_patience = Patience(late)
    behind.pay(5, late_patience)
    assert (late_patience.waited, ahead.used()) == ([], LIMIT)
    behind.pay(5, late_patience)
    assert late.now_s > (MINUTE + 2) * 60


def test_a_minute_that_is_far_ahead_is_the_work_of_a_wrong_clock(path, clock, patience):
    governor = governor_at(path, Clock(START_S + 7200))
    governor.pay(90, patience)
    assert governor_at(path, clock).pay(90, patience) == MINUTE
    assert patience.waited == []


def test_asking_only_whether_requests_may_be_sent_waits_for_nothing_else(path, clock, patience):
    governor = governor_at(path, clock, extra_sleep_s=2)
    governor.pay(LIMIT, patience)
    patience.waited.clear()
    assert governor.pay(0, patience) == 0
    assert (patience.waited, governor.spent) == ([], LIMIT)


# --- what the exchange says


def test_what_others_on_this_address_spent_counts(path, clock, patience):
    governor = governor_at(path, clock)
    governor.settle(governor.pay(2, patience), used=90)
    assert governor.used() == 90
    assert governor_at(path, clock).pay(6, patience) == MINUTE + 1


def test_a_lower_count_does_not_give_back_what_is_on_its_way(path, clock, patience):
    governor = governor_at(path, clock)
    minute = governor.pay(50, patience)
    governor.settle(minute, used=2)
    assert governor.used() == 50


def test_what_others_spent_counts_after_the_clock_was_put_back(path, clock, patience):
    governor = governor_at(path, clock)
    governor.settle(governor.pay(2, patience), used=90)
    clock.now_s -= 3600
    governor.settle(governor.pay(2, patience), used=80)
    assert governor.used() == 80


def test_a_count_of_the_minute_before_says_nothing_about_this_one(path, clock, patience):
    governor = governor_at(path, clock)
    before = governor.pay(2, patience)
    clock.now_s += 60
    governor.settle(before, used=95)
    assert governor.used() == 0
    now = governor.pay(2, patience)
    governor.settle(before, used=95)
    assert governor.used() == 2
    assert (now, governor.pay(90, patience)) == (MINUTE + 1, MINUTE + 1)


def test_while_the_exchange_wants_nobody_to_ask_nobody_asks(path, clock, patience):
    one, other = governor_at(path, clock), governor_at(path, clock)
    one.close_for(100)
    one.close_for(5)
    assert other.closed_s() == pytest.approx(100, abs=0.5)
    other.pay(1, patience)
    assert other.closed_s() == 0
    assert clock.now_s == pytest.approx(START_S + 100, abs=0.5)
    assert clock.now_s >= START_S + 100


def test_nobody_waits_for_the_end_of_a_long_ban_whoever_was_told_of_it(path, clock, patience):
    one, other = governor_at(path, clock), governor_at(path, clock)
    with pytest.raises(Banned, match="for 3600 s more"):
        one.close_for(3600)
    clock.now_s += 600
    for wait in (lambda: other.pay(1, patience), lambda: other.pay(0, patience)):
        with pytest.raises(Banned, match="for 3000 s more"):
            wait()
    assert patience.waited == []
    clock.now_s += 2900
    other.pay(1, patience)
    assert clock.now_s >= START_S + 3600


def test_the_longest_ban_of_an_exchange_is_believed_and_no_longer_one(path, clock, patience):
    three_days_s = 3 * 24 * 3600
    one, other = governor_at(path, clock), governor_at(path, late := Clock(START_S - 50))
    with pytest.raises(Banned, match=f"for {three_days_s} s more"):
        one.close_for(10 * three_days_s)
    # Whose clock is behind takes it for longer than there is.
    assert other.closed_s() == three_days_s + 50
    late.now_s -= 20
    assert other.closed_s() == 0


# --- stopping


def test_who_is_stopped_pays_nothing_and_does_not_wait(path, clock):
    governor, stopped = governor_at(path, clock, extra_sleep_s=60), threading.Event()
    stopped.set()
    assert governor.pay(1, stopped) == 0
    assert (governor.spent, governor.used()) == (0, 0)


def test_who_waits_is_stopped_at_once(path, clock):
    governor, stopped = governor_at(path, clock), threading.Event()
    governor.pay(LIMIT, stopped)
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(governor.pay(1, stopped)))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    stopped.set()
    waiting.join(5)
    assert answers == [0]
    assert governor.used() == LIMIT


def test_who_waits_for_a_lock_that_another_process_keeps_gives_up_in_time_and_is_stopped(path, clock):
    governor, stopped = governor_at(path, clock), threading.Event()
    with locked(path.with_suffix(".lock")):
        began_s = time.monotonic()
        with pytest.raises(BudgetUnavailable, match="is locked: another process holds it"):
            governor.pay(1, stopped, until_s=time.monotonic() + 3)
        answers: list[int] = []
        waiting = [threading.Thread(target=lambda: answers.append(governor.pay(1, stopped))) for _ in range(8)]
        for thread in waiting:
            thread.start()
        waiting[0].join(3)
        assert waiting[0].is_alive()
        stopped.set()
        for thread in waiting:
            thread.join(30)
        assert answers == [0] * 8
        assert time.monotonic() - began_s < 60
    assert governor.pay(1, threading.Event()) == MINUTE
    assert governor.used() == 1


# --- a place that cannot be reached


class Place:
    """A shared budget that is gone for the next so many times that somebody looks for it."""

    patience_s = 60.0

    def __init__(self, clock: Clock) -> None:
        self.kept, self.clock = Budget.unspent(), clock
        self.gone, self.is_lost_when_saved, self.changes = 0, False, 0
        self.meanwhile: Callable[[], object] = bool

    def open(self) -> None:
        pass

    def look(self) -> Budget:
        if self.gone:
            self.gone -= 1
            raise BudgetUnavailable("it is gone")
        return replace(self.kept, now_s=self.clock())

    @contextmanager
    def changing(self) -> Iterator[Budget]:
        self.changes += 1
        yield (budget := self.look())
        self.meanwhile()
        if self.is_lost_when_saved:
            self.is_lost_when_saved = False
            raise BudgetUnavailable("it was lost")
        self.kept = budget

    def governor(self) -> Governor:
        return Governor("b", lambda name, **_: self, weight_per_minute=100, clock_s=self.clock)


@pytest.fixture
def place(clock) -> Place:
    return Place(clock)


def test_who_cannot_reach_the_budget_tries_again_and_pays_once(place, patience):
    governor = place.governor()
    place.gone = 3
    assert governor.pay(5, patience) == MINUTE
    place.is_lost_when_saved = True
    assert governor.pay(5, patience) == MINUTE
    place.gone = 2
    assert governor.pay(0, patience) == 0
    assert (governor.spent, place.kept.used) == (10, 10)
    assert patience.waited == [1] * 6


def test_who_cannot_reach_the_budget_for_long_sends_nothing(place, patience):
    governor, place.gone, place.patience_s = place.governor(), 9, 0
    for weight in (0, 1):
        with pytest.raises(BudgetUnavailable, match="it is gone"):
            governor.pay(weight, patience)
    with pytest.raises(BudgetUnavailable):
        governor.try_to_pay(1)
    place.patience_s = 60
    with pytest.raises(BudgetUnavailable):
        governor.pay(1, patience, until_s=time.monotonic())
    assert (governor.spent, patience.waited) == (0, [])


def test_what_is_shown_of_a_budget_that_cannot_be_reached_is_what_was_known_last(place, patience):
    governor = place.governor()
    minute = governor.pay(5, patience)
    place.gone = 3
    assert (governor.used(), governor.closed_s()) == (5, 0)
    governor.settle(minute, used=50)
    assert governor.used() == 5
    governor.settle(minute, used=50)
    assert place.kept.used == 50


def test_a_refusal_that_could_not_be_told_closes_the_budget_with_the_next_payment(place, patience):
    governor, other = place.governor(), place.governor()
    place.gone = 2
    governor.close_for(100)
    assert governor.closed_s() == pytest.approx(100, abs=5)
    assert other.closed_s() == 0
    assert not governor.try_to_pay(1)
    assert other.closed_s() == pytest.approx(100, abs=5)
    assert place.kept.used == 0
    place.gone = 1
    with pytest.raises(Banned):
        governor.close_for(3600)


def test_a_refusal_that_comes_during_a_payment_is_told_with_the_next_one(place, patience):
    governor = place.governor()

    def refuse() -> None:
        place.meanwhile, place.gone = bool, 1
        governor.close_for(100)

    place.meanwhile = refuse
    assert governor.try_to_pay(1)
    assert place.kept.closed_until_s == 0
    assert governor.closed_s() == pytest.approx(100, abs=5)
    assert not governor.try_to_pay(1)
    assert place.governor().closed_s() == pytest.approx(100, abs=5)


def test_a_count_that_is_no_news_takes_no_lock(place, patience):
    """Each response has one, and others wait for the lock."""
    governor, other = place.governor(), place.governor()
    minute = governor.pay(2, patience)
    other.pay(50, patience)
    assert place.changes == 2
    governor.settle(minute, used=40)
    other.settle(minute - 1, used=95)
    assert (place.changes, place.kept.used) == (2, 52)
    governor.settle(minute, used=60)
    assert (place.changes, place.kept.used) == (3, 60)


# --- the file


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"7", b"null", b'{"minutes": 3}', b'{"minute": "x"}'])
def test_a_garbled_file_counts_as_a_spent_minute_and_no_more_than_that(path, clock, patience, content):
    governor = governor_at(path, clock)
    governor.pay(1, patience)
    path.write_bytes(content)
    assert governor.pay(1, patience) == MINUTE + 1
    assert governor.pay(1, patience) == MINUTE + 1


def test_nothing_is_written_before_it_is_opened_and_what_was_spent_until_then_is_owed(tmp_path, path, clock, patience):
    governor = unopened(path, clock)
    governor.pay(3, patience)
    governor.pay(4, patience)
    governor.settle(MINUTE, used=9)
    assert list(tmp_path.iterdir()) == []
    governor.open()
    governor.open()
    assert governor.used() == 9


def test_what_is_owed_counts_even_where_others_left_no_room_for_it(path, clock, patience):
    late = unopened(path, clock)
    late.pay(10, patience)
    governor_at(path, clock).pay(90, patience)
    late.open()
    assert late.used() == 100


def test_a_budget_that_is_there_is_used_from_the_first_request(path, clock, patience):
    governor_at(path, clock).pay(90, patience)
    assert unopened(path, clock).pay(6, patience) == MINUTE + 1


def test_each_host_and_market_has_its_own_budget():
    hosts, markets = ("api.binance.com", "127.0.0.1:8000"), ("spot", "futures")
    names = {budget_name(host, market) for host in hosts for market in markets}
    assert len(names) == 4
    assert all(":" not in name for name in names)


DAMAGE = {
    "infinite": '{"minute": Infinity, "used": 0, "closed_until_s": 0}',
    "infinite end": '{"minute": 0, "used": 0, "closed_until_s": 1e999}',
    "no number": '{"minute": 0, "used": NaN, "closed_until_s": 0}',
    "huge": f'{{"minute": 1{"0" * 5000}, "used": 0, "closed_until_s": 0}}',
    "negative": '{"minute": 0, "used": -1000, "closed_until_s": 0}',
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "text": '{"minute": "28000000", "used": "0", "closed_until_s": "0"}',
    "fractions": '{"minute": 1.5, "used": 0, "closed_until_s": 0}',
    "byte order mark": '\ufeff{"minute": 0, "used": 0, "closed_until_s": 0}',
    "cut": '{"minute": 28000000, "used": 1, "clo',
    "NUL": "\0" * 160,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_never_more_than_a_spent_minute(path, clock, patience, damage):
    governor = governor_at(path, clock)
    path.write_bytes(DAMAGE[damage].encode())
    assert (governor.used(), governor.closed_s()) == (LIMIT, 0)
    assert governor.pay(1, patience) == MINUTE + 1


def test_a_budget_file_that_cannot_be_read_is_shown_as_spent(path, clock, patience):
    governor = governor_at(path, clock)
    governor.pay(1, patience)
    path.unlink()
    path.mkdir()
    assert (governor.used(), governor.closed_s()) == (LIMIT, 0)


def test_a_ban_that_no_exchange_imposes_is_not_believed(path, clock, patience):
    governor = governor_at(path, clock)
    path.write_text(f'{{"minute": {MINUTE}, "used": 0, "closed_until_s": {START_S + 365 * 24 * 3600}}}')
    assert governor.closed_s() == 0
    assert governor.pay(1, patience) == MINUTE
    governor.close_for(100)
    assert governor.closed_s() == pytest.approx(100, abs=0.5)


def test_a_budget_in_a_folder_that_cannot_be_made_is_kept_in_the_next_one(tmp_path, path, clock, patience):
    (tmp_path / "mine").write_bytes(b"")
    folders, warnings = [tmp_path / "mine" / "budgets", path.parent], []

    def governor() -> Governor:
        made = governor_in(folders, path.stem, clock, warn=warnings.append)
        made.open()
        return made

    assert governor().pay(90, patience) == MINUTE
    assert governor().pay(6, patience) == MINUTE + 1
    assert path.exists()
    [first, second] = warnings
    assert first == second
    assert str(folders[0]) in first and str(folders[1]) in first and "\n" not in first


def test_a_budget_that_no_folder_takes_is_kept_by_each_process(tmp_path, clock, patience):
    (tmp_path / "mine").write_bytes(b"")
    warnings: list[str] = []
    governor = governor_in([tmp_path / "mine" / "b"], "b", clock, warn=warnings.append)
    governor.pay(50, patience)
    governor.open()
    governor.pay(45, patience)
    assert governor.pay(1, patience) == MINUTE + 1
    assert len(warnings) == 1 and "counts by itself" in warnings[0]


@pytest.mark.parametrize("what", ["file", "lock", "folder"])
def test_a_budget_file_that_is_lost_during_a_load_stops_nothing(tmp_path, path, clock, patience, what):
    other, warnings = tmp_path / "other", list[str]()
    governor = governor_in([path.parent, other], path.stem, clock, warn=warnings.append)
    governor.open()
    governor.pay(50, patience)
    if what == "folder":
        shutil.rmtree(path.parent)
        path.parent.write_bytes(b"mine")
    else:
        lost = path if what == "file" else path.with_suffix(".lock")
        lost.unlink()
        lost.mkdir()
    governor.pay(45, patience)
    assert governor.used() <= LIMIT
    assert governor.pay(95, patience) == MINUTE + 1
    assert len(warnings) == 1
    assert (other / path.name).exists()
