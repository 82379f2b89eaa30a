"""When a service that failed is worth another request."""

from market_data_pipeline.core.sources.breaker import Breaker


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_one_failure_opens_nothing_and_an_answer_between_failures_starts_the_count_anew() -> None:
    breaker = Breaker(failures=3, pause_s=30)
    for _ in range(5):
        breaker.note_failure()
        breaker.note_failure()
        assert breaker.may_try()
        breaker.note_answer()


def test_after_failures_in_a_row_one_caller_tries_again_after_each_pause() -> None:
    clock = Clock()
    breaker = Breaker(failures=3, pause_s=30, clock_s=clock)
    for _ in range(3):
        assert breaker.may_try()
        breaker.note_failure()
    assert breaker.is_open
    clock.now_s += 29
    assert not breaker.may_try()
    clock.now_s += 1
    assert [breaker.may_try() for _ in range(3)] == [True, False, False]
    breaker.note_failure()
    clock.now_s += 29
    assert not breaker.may_try()
    clock.now_s += 1
    assert breaker.may_try()
    breaker.note_answer()
    assert [breaker.may_try() for _ in range(3)] == [True, True, True]


def test_a_caller_that_tells_no_result_blocks_the_others_for_one_pause_only() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, pause_s=30, clock_s=clock)
    breaker.note_failure()
    clock.now_s += 30
    assert [breaker.may_try() for _ in range(2)] == [True, False]
    clock.now_s += 30
    assert breaker.may_try()
