"""What many processes did to the chunks of some days, and whether one chunk for each day can explain it.

Belongs here: events and the checker. Does not belong here: the processes.

The chunk of a day is a set of minutes to which each write adds some, and whoever writes or reads sees a state of it.
That is a legal history if there is one order of all events, true to their times, that gives everyone what it saw. For
a set that only grows this is so if the states are each within the next one, each has what was written before it, and
none has anything of a later write or a part of one.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple


class Event(NamedTuple):
    """A write or a read between two instants. `wrote` are the minutes that it adds, `saw` all that were there then."""

    who: str
    day: str
    began_ns: int
    ended_ns: int
    wrote: frozenset[int]
    saw: frozenset[int]


def contradictions(events: Iterable[Event]) -> Iterator[str]:
    """Why the history is not legal, one line each; nothing if it is."""
    of_days = defaultdict[str, list[Event]](list)
    for event in events:
        of_days[event.day].append(event)
    for of_day in of_days.values():
        for event in of_day:
            yield from _of_one(event, of_day)
        yield from _of_all(of_day)


def story(events: Sequence[Event], requests: Iterable[Any]) -> str:
    """A line for each event and each request that a proxy noted, in order, in milliseconds from the first event on."""
    first_ns = min(event.began_ns for event in events)

    def ms(at_ns: int) -> int:
        return (at_ns - first_ns) // 1_000_000

    lines = [
        (each.ended_ns, f"{each.day} {each.who} from {ms(each.began_ns)}: wrote {len(each.wrote)}, saw {len(each.saw)}")
        for each in events
    ]
    for each in requests:
        lines.append((each.at_ns, f"{each.method} {each.key} if {each.expected}: {each.status} {each.etag}"))
    return "\n".join(f"{ms(at_ns)} {line}" for at_ns, line in sorted(lines))


def _of_one(event: Event, of_day: list[Event]) -> Iterator[str]:
    name = f"{event.day}: {event.who}"
    before = [other for other in of_day if other.ended_ns < event.began_ns]
    begun = [other for other in of_day if other.began_ns < event.ended_ns]
    for other in before:
        if lost := (other.wrote | other.saw) - event.saw:
            yield f"{name} lacks {len(lost)} minutes of {other.who}, who had ended before"
    if lost := event.wrote - event.saw:
        yield f"{name} lacks {len(lost)} minutes that it wrote"
    if early := event.saw - frozenset().union(*(other.wrote for other in begun)):
        yield f"{name} has {len(early)} minutes that nobody had begun to write"


def _of_all(of_day: list[Event]) -> Iterator[str]:
    states = sorted(of_day, key=lambda event: len(event.saw))
    for fewer, more in pairwise(states):
        if not fewer.saw <= more.saw:
            yield f"{fewer.day}: {fewer.who} and {more.who} saw chunks of which neither has the other's minutes"
    writers = defaultdict[int, int](int)
    for event in of_day:
        for minute in event.wrote:
            writers[minute] += 1
    for write in of_day:
        alone = frozenset(minute for minute in write.wrote if writers[minute] == 1)
        for event in of_day:
            if alone & event.saw and not alone <= event.saw:
                yield f"{write.day}: {event.who} saw a part of what {write.who} wrote"
