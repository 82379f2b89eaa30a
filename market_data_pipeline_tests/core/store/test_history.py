"""The checker finds what it is for; without this, nothing it lets pass would mean anything."""

import pytest

from market_data_pipeline_tests.core.store.history import Event, contradictions, story
from market_data_pipeline_tests.objects_proxy import Request


def event(who: str, began: int, ended: int, wrote: str, saw: str) -> Event:
    return Event(who, "2024-03-05", began, ended, frozenset(map(ord, wrote)), frozenset(map(ord, saw)))


A_LEGAL_ONE = [
    event("first", 0, 10, "ab", "ab"),
    event("beside it", 5, 20, "cd", "abcd"),
    event("early reader", 1, 9, "", ""),
    event("reader", 8, 19, "", "ab"),
    event("late reader", 21, 22, "", "abcd"),
]


def test_a_legal_history_passes() -> None:
    assert list(contradictions(A_LEGAL_ONE)) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (event("x", 30, 31, "", "ab"), "x lacks 2 minutes of beside it, who had ended before"),
        (event("x", 30, 31, "ef", "abcd"), "x lacks 2 minutes that it wrote"),
        (event("x", 2, 3, "", "abcd"), "x has 2 minutes that nobody had begun to write"),
        (event("x", 6, 8, "", "cd"), "saw chunks of which neither has the other's minutes"),
        (event("x", 6, 8, "", "abc"), "x saw a part of what beside it wrote"),
    ],
)
def test_an_illegal_one_is_told(wrong: Event, said: str) -> None:
    assert said in "\n".join(contradictions([*A_LEGAL_ONE, wrong]))


def test_a_day_does_not_answer_for_another_one() -> None:
    other = event("x", 30, 31, "e", "e")._replace(day="2024-03-06")
    assert list(contradictions([*A_LEGAL_ONE, other])) == []


def test_the_story_of_a_race_is_in_order() -> None:
    second = 1_000_000_000
    events = [event("late", second, 3 * second, "b", "ab"), event("first", 0, second, "a", "a")]
    put = Request("PUT", "chunks/a", "", "*", 200, "e1", at_ns=2 * second)
    assert story(events, [put]).splitlines() == [
        "1000 2024-03-05 first from 0: wrote 1, saw 1",
        "2000 PUT chunks/a if *: 200 e1",
        "3000 2024-03-05 late from 1000: wrote 1, saw 2",
    ]
