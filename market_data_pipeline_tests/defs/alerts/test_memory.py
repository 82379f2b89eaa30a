"""When a cause is told, over days: reminders, the end of a cause, and that what is kept stays small."""

from market_data_pipeline.defs.alerts.memory import DAY_S, HOUR_S, MOST_IN_AN_HOUR, Memory
from market_data_pipeline.defs.alerts.news import Failure, News

NOW_S = 1_700_000_000.0
COVERED = ("binance", "covered")


def failures(*found: Failure, passed: tuple[tuple[str, str], ...] = ()) -> News:
    return News(found, frozenset(passed), 0, 0)


def of_run(cause: str, at_s: float = NOW_S) -> Failure:
    return Failure(cause, f"a run failed: {cause}", "binance/BTCUSDT", at_s, run_id="r")


def of_check(at_s: float = NOW_S) -> Failure:
    return Failure("check covered", "covered failed", "binance/BTCUSDT", at_s, check=COVERED[1], exchange_id=COVERED[0])


def sent(memory: Memory, now_s: float) -> list[str]:
    """The kinds of the messages that are due, which are all taken; what is kept goes through JSON, as in a cursor."""
    kinds = []
    for message in memory.due(now_s):
        memory.body(message)
        memory.told(message, now_s)
        kinds.append(message.kind)
    memory.forget(now_s)
    assert Memory.parse(memory.dump()) == memory
    return kinds


def note(
    memory: Memory,
    *found: Failure,
    passed: tuple[tuple[str, str], ...] = (),
    fails: bool = False,
    defined: tuple[tuple[str, str], ...] = (COVERED,),
    unsure: tuple[str, ...] = (),
) -> None:
    memory.note(failures(*found, passed=passed), defined=defined, unsure=unsure, still_fails=lambda check: fails)


def test_a_check_that_goes_on_failing_is_told_once_a_day() -> None:
    memory = Memory(0, 0)
    note(memory, of_check())
    assert sent(memory, NOW_S) == ["failed"]
    assert [kind for hour in range(1, 72) for kind in sent(memory, NOW_S + hour * HOUR_S)] == ["still_failing"] * 2
    note(memory, passed=(COVERED,), fails=True)
    assert sent(memory, NOW_S + 3 * DAY_S - HOUR_S) == []
    note(memory, passed=(COVERED,))
    assert sent(memory, NOW_S + 3 * DAY_S - HOUR_S) == ["recovered"]
    assert sent(memory, NOW_S + 4 * DAY_S) == []
    assert memory.causes == {}


def test_a_check_that_is_gone_is_over_and_one_of_another_location_is_not() -> None:
    memory = Memory(0, 0)
    note(memory, of_check())
    assert sent(memory, NOW_S) == ["failed"]
    note(memory, defined=(), unsure=COVERED[:1])
    assert sent(memory, NOW_S + HOUR_S) == []
    note(memory, defined=())
    assert sent(memory, NOW_S + HOUR_S) == ["recovered"]
    note(memory, of_check(NOW_S + HOUR_S), defined=())
    assert [kind for hour in range(2, 72) for kind in sent(memory, NOW_S + hour * HOUR_S)] == []
    assert memory.causes == {}
    note(memory, of_check(), defined=())
    assert [kind for hour in range(72) for kind in sent(memory, NOW_S + hour * HOUR_S)] == [
        "failed",
        "still_failing",
        "still_failing",
    ]


def test_a_run_that_failed_once_is_told_once_and_one_that_fails_again_each_day() -> None:
    memory = Memory(0, 0)
    note(memory, of_run("once"))
    told = [kind for hour in range(72) for kind in sent(memory, NOW_S + hour * HOUR_S)]
    assert (told, memory.causes) == (["failed"], {})
    told = []
    for hour in range(72):
        note(memory, of_run("again", NOW_S + hour * HOUR_S))
        told += sent(memory, NOW_S + hour * HOUR_S)
    assert told == ["failed", "still_failing", "still_failing"]


def test_what_recovers_before_it_was_told_is_not_told() -> None:
    memory = Memory(0, 0)
    note(memory, of_check())
    note(memory, passed=(COVERED,))
    assert sent(memory, NOW_S) == []


def test_what_fails_again_within_an_hour_is_told_after_it_if_it_lasts() -> None:
    memory = Memory(0, 0)
    note(memory, of_check())
    assert sent(memory, NOW_S) == ["failed"]
    note(memory, passed=(COVERED,))
    assert sent(memory, NOW_S + 60) == ["recovered"]
    note(memory, of_check(NOW_S + 120))
    assert sent(memory, NOW_S + 120) == []
    assert sent(memory, NOW_S + 60 + HOUR_S) == ["failed"]


def test_a_storm_is_bounded_in_messages_and_in_memory() -> None:
    memory, told = Memory(0, 0), list[str]()
    letters = "abcdefghijklmnopqrst"
    for minute in range(180):
        now_s = NOW_S + 60 * minute
        note(memory, *[of_run(f"cause {one}{letters[minute % 20]}{letters[minute // 20]}", now_s) for one in letters])
        told += sent(memory, now_s)
        assert len(memory.dump()) < 20_000
    assert told.count("failed") <= 4 * MOST_IN_AN_HOUR
    assert 3 <= told.count("others") <= 4


def test_what_does_not_fit_is_counted() -> None:
    memory = Memory(0, 0)
    note(memory, *[of_run(f"cause {number}") for number in range(100)])
    messages = []
    for message in memory.due(NOW_S):
        messages.append(memory.body(message))
        memory.told(message, NOW_S)
    assert messages[-1]["causes"] == 100 - MOST_IN_AN_HOUR
    assert "- and 80 more" in str(messages[-1]["text"])


def test_what_was_told_while_the_clock_was_ahead_silences_nothing_for_longer_than_an_hour() -> None:
    memory = Memory(0, 0)
    note(memory, of_check(NOW_S + 30 * DAY_S), *(of_run(f"{number}", NOW_S + 30 * DAY_S) for number in range(20)))
    assert sent(memory, NOW_S + 30 * DAY_S) == ["failed"] * MOST_IN_AN_HOUR + ["others"]
    assert sent(memory, NOW_S) == []
    note(memory, of_run("new", NOW_S), passed=(COVERED,))
    note(memory, of_check(NOW_S + 60))
    assert sent(memory, NOW_S + HOUR_S) == ["failed", "failed"]
    assert sent(memory, NOW_S + HOUR_S + DAY_S) == ["still_failing"]


def test_what_is_no_memory_is_none() -> None:
    assert Memory.parse("") is None
    assert Memory.parse('{"runs_after": "x"}') is None
