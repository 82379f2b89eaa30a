"""What may pass is tried again, and nothing else."""

import time
from collections.abc import Callable

import pytest

from market_data_pipeline.core.again import again
from market_data_pipeline.core.errors import PASSING
from market_data_pipeline.core.store.storage.protocol import Changed, again_if_changed, patient


class Failing:
    """Raises what it is given, one error a call, and then returns the number of calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls, self.began_s = list(errors), 0, list[float]()

    def __call__(self) -> int:
        self.calls += 1
        self.began_s.append(time.monotonic())
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


def test_what_may_pass_is_tried_until_it_succeeds_and_each_error_is_judged_once() -> None:
    judged = list[BaseException]()

    def may_succeed(error: BaseException) -> bool:
        judged.append(error)
        return True

    errors = [OSError("first"), ValueError("second"), OSError("third")]
    assert again(Failing(*errors), may_succeed, within_s=60, pause_s=0.001, longest_pause_s=0.01) == 4
    assert judged == errors


def test_what_cannot_pass_is_raised_at_once_also_later() -> None:
    for errors in ([KeyError("final")], [OSError("passes"), KeyError("final")]):
        failing = Failing(*errors, OSError("never raised"))
        with pytest.raises(KeyError, match="final"):
            again(failing, lambda error: isinstance(error, OSError), within_s=60, pause_s=0.001, longest_pause_s=0.01)
        assert failing.calls == len(errors)


def test_nothing_is_tried_after_its_time() -> None:
    class Slow(Failing):
        def __call__(self) -> int:
            time.sleep(0.05)
            return super().__call__()

    slow = Slow(OSError("first"), OSError("second"))
    with pytest.raises(OSError, match="first"):
        again(slow, lambda _: True, within_s=0.04, pause_s=0.001, longest_pause_s=0.01)
    assert slow.calls == 1


def test_the_time_of_the_first_call_counts() -> None:
    failing = Failing(*[OSError(str(number)) for number in range(1000)])
    with pytest.raises(OSError, match=r"\d"):
        again(failing, lambda _: True, within_s=0.2, pause_s=0.02, longest_pause_s=0.02)
    assert failing.calls > 2
    assert failing.began_s[-1] - failing.began_s[0] < 5


class Clock:
    """The clock of this process, which nothing but pauses and slow calls moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.pauses = 1000.0, list[float]()
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds

    def failing(self, call_s: float = 0) -> Callable[[], None]:
        """What never succeeds, and takes so long."""

        def act() -> None:
            self.now_s += call_s
            raise OSError("away")

        return act


def test_pauses_grow_and_stay_below_the_longest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with pytest.raises(OSError, match="away"):
        again(clock.failing(), lambda _: True, within_s=600, pause_s=0.1, longest_pause_s=3)
    # It is called again at once, and then waits.
    assert max(clock.pauses[:2]) <= 0.2
    assert 1.5 < max(clock.pauses) <= 3
    assert len(set(clock.pauses[-20:])) > 10, "random, so that many who wait do not come back at once"
    assert 590 < sum(clock.pauses) < 610


def test_a_slow_first_call_leaves_less_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with pytest.raises(OSError, match="away"):
        again(clock.failing(call_s=50), lambda _: True, within_s=60, pause_s=0.1, longest_pause_s=3)
    assert clock.now_s - 1000 == pytest.approx(100, abs=1)


def test_what_fails_for_another_reason_is_not_tried_again_though_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with pytest.raises(OSError, match="away"):
        again(clock.failing(), lambda _: False, within_s=60, pause_s=0.1, longest_pause_s=3, least_tries=9)
    assert clock.pauses == []


@pytest.mark.parametrize("least", [2, 5])
def test_the_least_tries_are_made_however_long_they_take(least: int) -> None:
    failing = Failing(*[OSError(str(number)) for number in range(1000)])
    with pytest.raises(OSError, match=f"^{least - 1}$"):
        again(failing, lambda _: True, within_s=0, pause_s=0.001, longest_pause_s=0.01, least_tries=least)
    assert failing.calls == least


def test_what_another_process_changed_is_done_again_however_long_one_try_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, tries = Clock(monkeypatch), list[int]()

    @again_if_changed
    def moves() -> str:
        tries.append(1)
        clock.now_s += 100
        if len(tries) < 3:
            raise Changed("another process has moved the start")
        return "moved"

    assert moves() == "moved"
    assert issubclass(Changed, PASSING), "the same command may succeed later"


def test_what_is_done_again_is_given_all_that_it_was_called_with() -> None:
    failing, given = Failing(OSError("passes")), list[tuple[str, str]]()

    @patient(lambda error: isinstance(error, OSError))
    def move(start: str, *, pair: str) -> int:
        given.append((start, pair))
        return failing()

    assert move("2024-02-28", pair="BTC/USDT") == 2
    assert given == [("2024-02-28", "BTC/USDT")] * 2
