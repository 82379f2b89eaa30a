"""The same for an object store: crashes between any two requests, answers that are lost, writes that are applied late.

Belongs here: which writes an object store may have after a crash, and what becomes of a command while answers are lost.
Does not belong here: the object store (`object_server`), what has to hold (`checking`).

An object is whole as soon as it is there, and what was answered is kept. So a crash leaves the writes that were
answered, and of those that were on their way each one or not. One that was on its way may also be applied later, when
the client is long gone: its condition counts at that moment.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from multiprocessing import get_context
from typing import Any

from market_data_pipeline.core.store import layout
from market_data_pipeline_tests.places import environment_of, in_bucket
from market_data_pipeline_tests.powerloss import scenarios
from market_data_pipeline_tests.powerloss.checking import Promise, Promises, problems_of, safely
from market_data_pipeline_tests.powerloss.commands import Scenario
from market_data_pipeline_tests.powerloss.object_server import Fate, Objects, ObjectServer, Write, serving
from market_data_pipeline_tests.powerloss.replaying import Counts, be_quiet, differences, lasts
from market_data_pipeline_tests.powerloss.trees import digest_of

_MOST_ON_THEIR_WAY = 4
_PAUSE_S = 0.01
# Rights of processes that have ended, the clock, and trials of conditions.
_OF_PROCESSES = (".sessions/", ".clock", ".probe-")


@dataclass(frozen=True)
class ObjectPlan:
    """Of how many crashes, late writes and lost answers of each scenario something is tried; None for all."""

    crashes: int | None = None
    late: int | None = None
    lost: int | None = None
    seed: int = 0


@dataclass
class Happened:
    """The objects before, all writes, after how many of them something was promised, and what was left in the end."""

    before: Objects
    writes: list[Write] = field(default_factory=list)
    promised: list[tuple[int, Promise]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    left: Objects = field(default_factory=dict)

    def promise_at(self, applied: int) -> Promise:
        return next(promise for at, promise in reversed(self.promised) if at <= applied)

    def step_at(self, applied: int) -> int:
        return sum(end < applied for end in self.ends)


class Place:
    """A data root on the server, for one run."""

    def __init__(self, server: ObjectServer, objects: Objects) -> None:
        server.forget()
        self.root: Any = in_bucket()
        self.prefix = f"{self.root.root.rpartition('/')[2]}/"
        self._server = server
        server.restore(objects, self.prefix)

    def objects(self) -> dict[str, bytes]:
        return self._server.objects(self.prefix)

    def writes(self) -> list[Write]:
        """All that were applied, with keys relative to the root."""
        applied = self._server.applied
        return [Write(each.key.removeprefix(self.prefix), each.content, each.expected, each.after) for each in applied]

    def here(self, write: Write) -> Write:
        """A write of another run, to this root."""
        return Write(self.prefix + write.key, write.content, write.expected)


def happened(scenario: Scenario, server: ObjectServer) -> Happened:
    """The scenario, run once without a fault."""
    place, promises = Place(server, {}), Promises(lambda promise: None)
    scenario.prepare(place.root, promises)
    found = Happened(place.objects(), promised=[(0, promises.so_far)])
    scenario.end_preparing()
    place = Place(server, found.before)
    server.pause_s = _PAUSE_S
    promises = Promises(lambda promise: found.promised.append((len(server.applied), promise)), promises.so_far)
    for command in scenario.commands():
        command.run(place.root, promises)
        found.ends.append(len(server.applied))
    server.pause_s = 0
    found.writes, found.left = place.writes(), place.objects()
    return found


def crashes_of(found: Happened) -> Iterator[tuple[int, int, Objects]]:
    """After how many writes there was a crash, and the objects then, with each choice of those on their way.

    The second number is of the writes that were answered: a command tells of nothing that was not.
    """
    for at in range(len(found.writes) + 1):
        done = found.writes[:at]
        # Whoever had sent one later may have known that these were answered.
        known = max((write.after for write in done), default=0)
        doubtful = list(range(max(known, at - _MOST_ON_THEIR_WAY), at))
        for lacking in range(len(doubtful) + 1):
            for missing in combinations(doubtful, lacking):
                if at - 1 in missing or not missing:  # the others are of an earlier crash
                    there = [each for number, each in enumerate(done) if number not in missing]
                    yield at, min(missing, default=at), _applied(found.before, there)


def _applied(before: Objects, writes: list[Write]) -> Objects:
    objects = dict(before)
    for write in writes:
        if write.content is None:
            objects.pop(write.key, None)
        else:
            objects[write.key] = write.content
    return objects


class Trial:
    """Runs of a scenario with faults, on a server."""

    def __init__(self, name: str, server: ObjectServer) -> None:
        self.name, self._server = name, server
        self.counts = Counts(f"{name}, in a bucket")
        self.scenario = scenarios.ALL[name](0)
        self.found = happened(self.scenario, server)
        self.counts.operations = len(self.found.writes)

    def crash(self, at: int, told: int, objects: Objects) -> None:
        """A crash after so many writes: what is there is looked at, and the next command heals it."""
        self._count(objects)
        place = Place(self._server, objects)
        self._look(place, self.found.promise_at(told), f"crash after {at}")
        self._heal(place, at, f"crash after {at}")

    def late(self, at: int, after: int | None) -> None:
        """A crash after so many writes; the next one is applied so many writes later, or when all has ended."""
        objects, what = (
            _applied(self.found.before, self.found.writes[:at]),
            f"crash after {at}, the next late by {after}",
        )
        place = Place(self._server, objects)
        self._server.late = [place.here(self.found.writes[at])]
        self._server.before_write = self._counting(after)
        self._heal(place, at, what)
        self._count(place.objects())
        # Whatever it did, the same commands once more bring everything in order.
        self._heal(place, at, f"{what}, again")

    def lost(self, number: int, fate: Fate, after: int | None) -> None:
        """The whole scenario, with this fate of one write. What is late is applied so many writes after it."""
        place = Place(self._server, self.found.before)
        what = f"write {number}: {fate}, by {after}"
        seen = 0

        def fate_of(write: Write) -> Fate:
            nonlocal seen
            if self._is_of_process(write.key):
                return Fate.ANSWERED
            seen += 1
            return fate if seen == number + 1 else Fate.ANSWERED

        self._server.fate_of = fate_of
        self._server.before_write = self._counting(None if after is None else number + 1 + after)

        promises = Promises(lambda promise: None, self.found.promised[0][1])

        def run() -> Iterator[str]:
            for command in self.scenario.commands():
                command.run(place.root, promises)
            yield from ()

        self._note(safely(run), what)
        self._ended(place, promises.so_far, what)
        self._count(place.objects())

    # --- inside

    def _count(self, objects: Objects) -> None:
        self.counts.cuts += 1
        self.counts.trees.add(digest_of({key: content for key, content in _of_data(objects).items() if lasts(key)}))

    def _counting(self, after: int | None) -> Any:
        """What lets the late writes be applied before the write of this number."""
        seen = 0

        def before_write(write: Write) -> None:
            nonlocal seen
            if after is not None and seen >= after:
                self._server.apply_late()
            seen += not self._is_of_process(write.key)

        return before_write

    def _is_of_process(self, key: str) -> bool:
        return key.partition("/")[2].startswith(_OF_PROCESSES)

    def _heal(self, place: Place, at: int, what: str) -> None:
        promises = Promises(lambda promise: None, self.found.promise_at(at))

        def run() -> Iterator[str]:
            for act in self.scenario.acts(self.found.step_at(at)):
                act(place.root, promises)
            yield from ()

        self._note(safely(run), f"{what}, healing")
        self.counts.healed += 1
        self._ended(place, promises.so_far, what)

    def _ended(self, place: Place, promise: Promise, what: str) -> None:
        is_changed_late = bool(self._server.late)
        self._server.apply_late()
        self._server.fate_of = lambda _: Fate.ANSWERED
        self._look(place, promise, f"{what}, after it")
        if is_changed_late:
            self.scenario.commands()[-1].run(place.root, Promises(lambda promise: None, promise))
        left, undisturbed = _of_data(place.objects()), _of_data(self.found.left)
        self._note(list(differences(self.name, left, undisturbed)), what)

    def _look(self, place: Place, promise: Promise, what: str) -> None:
        self.counts.looks += 1
        self._note(safely(partial(problems_of, place.root, self.scenario.truth, promise)), what)

    def _note(self, problems: list[str], what: str) -> None:
        self.counts.problems += [f"{self.counts.name}, {what}: {problem}" for problem in problems]


def _of_data(objects: Objects) -> Objects:
    """Without what is of a process, and without copies of replaced chunks: no snapshot names one here."""
    kept = f"/{layout.KEPT}/"
    return {key: each for key, each in objects.items() if not key.startswith(_OF_PROCESSES) and kept not in key}


def object_loss(
    name: str,
    plan: ObjectPlan,
    *,
    processes: int = 1,
    set_variable: Callable[[str, str], None] = os.environ.__setitem__,
) -> Counts:
    """All faults of a scenario that the plan asks for. `set_variable` gets what names the server to this process."""
    began_s = time.monotonic()
    if processes == 1:
        counts = _share(name, plan, 0, 1, set_variable)
    else:
        counts = Counts("")
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            for done in as_completed([pool.submit(_share, name, plan, each, processes) for each in range(processes)]):
                counts.name, counts.operations = done.result().name, done.result().operations
                counts.add(done.result())
    counts.seconds = time.monotonic() - began_s
    return counts


def _share(
    name: str,
    plan: ObjectPlan,
    share: int,
    shares: int,
    set_variable: Callable[[str, str], None] = os.environ.__setitem__,
) -> Counts:
    be_quiet()
    with serving() as server:
        for variable, value in environment_of(server.url).items():
            set_variable(variable, value)
        trial, draw = Trial(name, server), random.Random(plan.seed)

        def some(of: list[Any], most: int | None) -> list[Any]:
            return (of if most is None else draw.sample(of, min(most, len(of))))[share::shares]

        written = [write.key for write in trial.found.writes]
        writes = [at for at, key in enumerate(written) if not key.startswith(".probe-")]
        own = range(sum(not key.startswith(_OF_PROCESSES) for key in written))
        for at, told, objects in some(list(crashes_of(trial.found)), plan.crashes):
            trial.crash(at, told, objects)
        for at, after in some([(at, after) for at in writes for after in (1, 4, None)], plan.late):
            trial.late(at, after)
        fates = [(number, Fate.ANSWER_LOST, None) for number in own]
        fates += [(number, Fate.LATE, after) for number in own for after in (1, 3, None)]
        for number, fate, after in some(fates, plan.lost):
            trial.lost(number, fate, after)
        return trial.counts
