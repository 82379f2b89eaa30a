"""Recording a scenario, making the states that a power cut leaves of it, looking at each, and healing them.

Belongs here: the order of these steps, what is counted, sharing the work among processes. Does not belong here: the
steps themselves (`recording`, `cuts`, `checking`).

Two kinds of cuts are made: one while the commands run, and one after a process was killed and the next command has
gone on from what it saw, which was perhaps not on disk yet.
"""

import json
import logging
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from market_data_pipeline.core.store.layout import REVISIONS_FILE
from market_data_pipeline_tests.powerloss import scenarios
from market_data_pipeline_tests.powerloss.checking import Promise, Promises, problems_of, safely
from market_data_pipeline_tests.powerloss.commands import Scenario
from market_data_pipeline_tests.powerloss.cuts import Cut, cuts_of
from market_data_pipeline_tests.powerloss.recording import Recorder, Recording, Visible
from market_data_pipeline_tests.powerloss.trees import Tree, digest_of, is_lock, plant, tree_of

# What differs from run to run: when a revision was noticed or a chunk read, who follows a dataset, what was set aside.
_OF_ITS_RUN = ("revisions.jsonl", "proof.json", ".live.json", ".live.error", "learned.parquet")


@dataclass(frozen=True)
class Plan:
    """How much is tried.

    Attributes:
        most: most states of each cut.
        most_after_kill: most states of each cut after a kill, of which there are many more.
        healed_each: one of so many states is healed.
        kills: after how many operations the scenario is killed, too.
        seed: which ones are drawn where there are more.
    """

    most: int
    most_after_kill: int
    healed_each: int
    kills: int
    seed: int = 0


@dataclass
class Counts:
    """What was done. `trees` has a digest of each state. `looks` are more where another scenario left the same one."""

    name: str
    operations: int = 0
    cuts: int = 0
    looks: int = 0
    healed: int = 0
    seconds: float = 0
    trees: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    @property
    def states(self) -> int:
        return len(self.trees)

    def add(self, other: "Counts") -> None:
        """Add what another process did of the same scenario."""
        self.cuts += other.cuts
        self.looks += other.looks
        self.healed += other.healed
        self.trees |= other.trees
        self.problems += other.problems


@dataclass(frozen=True)
class Replay:
    """A scenario, what happened in it, what it left in the end, and the first operation after which cuts are made."""

    scenario: str
    interval_s: float
    recording: Recording
    left: Tree
    since: int = 0

    def made(self) -> Scenario:
        return scenarios.ALL[self.scenario](self.interval_s)


def recorded(name: str, folder: Path, interval_s: float = 0, begins: Callable[[], None] = lambda: None) -> Replay:
    """The scenario, run once without any cut. `begins` is called when all is there that it begins with.

    Raises:
        AssertionError: a file was changed that the recorder was not told of.
    """
    scenario, root, prepared = scenarios.ALL[name](interval_s), folder / "undisturbed", folder / "prepared"
    prepared.mkdir()
    promises = Promises(lambda promise: None)
    scenario.prepare(prepared, promises)
    recording = Recording(tree_of(prepared), promised=[(0, promises.so_far)])
    scenario.end_preparing()
    plant(recording.before, root)
    recorder = Recorder(root, recording)
    begins()
    with recorder.running():
        promises = Promises(recorder.promise, promises.so_far)
        for command in scenario.commands():
            command.run(root, promises)
            recorder.end_command()
            assert recorder.tree == tree_of(root), "a file was changed in another way than by the calls of the store"
    return Replay(name, interval_s, recording, tree_of(root))


def killed(replay: Replay, at: int, folder: Path) -> Replay:
    """The scenario killed after so many operations, and gone on with: with what was not on disk then.

    Cuts are made after the next command has begun.
    """
    scenario, root, before = replay.made(), folder / "killed", replay.recording
    visible = Visible(before.before)
    for operation in before.operations[:at]:
        visible.do(operation)
    plant(visible.tree(), root)
    promised = [(when, promise) for when, promise in before.promised if when <= at]
    step = before.step_at(at)
    recording = Recording(before.before, before.operations[:at], promised, before.ends[:step])
    recorder = Recorder(root, recording)
    with recorder.running():
        promises = Promises(recorder.promise, before.promise_at(at))
        for act in scenario.acts(step):
            act(root, promises)
            recorder.end_command()
    shutil.rmtree(root)
    return Replay(replay.scenario, replay.interval_s, recording, replay.left, since=at + 1)


def replayed(replay: Replay, plan: Plan, folder: Path, share: int = 0, shares: int = 1) -> Counts:
    """Look at this share of the states of a replay, and heal some of them."""
    counts, scenario = Counts(replay.scenario), replay.made()
    for number, (digest, (cut, promised)) in enumerate(_states(replay, plan).items()):
        if int(digest[:8], 16) % shares != share:
            continue
        counts.trees.add(digest)
        root = folder / f"state-{number}"
        plant(cut.tree, root)
        is_healed = int(digest[8:16], 16) % plan.healed_each == 0
        found = safely(partial(problems_of, root, scenario.truth, promised, wholly=is_healed))
        counts.looks += 1
        if is_healed:
            counts.healed += 1
            found += safely(partial(_healed, scenario, replay, cut, root))
        shutil.rmtree(root)
        counts.problems += [f"{replay.scenario}, cut after {cut.at}: {problem}" for problem in found]
    return counts


def _states(replay: Replay, plan: Plan) -> dict[str, tuple[Cut, Promise]]:
    """Each tree by its digest: the first cut that leaves it, and all that was promised before any that does.

    More and more is promised, but for what `verify` says: that is good after a command, until the next one begins.
    """
    most, found = plan.most_after_kill if replay.since else plan.most, dict[str, tuple[Cut, Promise]]()
    for cut in cuts_of(replay.recording, most=most, since=replay.since, seed=plan.seed):
        digest, promised = digest_of(cut.tree), replay.recording.promise_at(cut.at)
        first, before = found.get(digest, (cut, promised))
        found[digest] = first, promised if promised.good >= before.good else promised.and_good(before.good)
    return found


def _healed(scenario: Scenario, replay: Replay, cut: Cut, root: Path) -> Iterator[str]:
    """What is wrong after the next commands, one line each."""
    promises = Promises(lambda promise: None, replay.recording.promise_at(cut.at))
    for act in scenario.acts(replay.recording.step_at(cut.at)):
        act(root, promises)
    for problem in problems_of(root, scenario.truth, promises.so_far):
        yield f"after healing: {problem}"
    yield from differences(replay.scenario, tree_of(root), replay.left)


def differences(scenario: str, left: Tree, undisturbed: Tree) -> Iterator[str]:
    """In what two trees differ that commands left in the end."""
    if differing := sorted(name for name in left.keys() ^ undisturbed.keys() if lasts(name)):
        yield f"after healing there are other files than of an undisturbed run: {differing}"
    common = left.keys() & undisturbed.keys()
    if differing := sorted(name for name in common if lasts(name) and left[name] != undisturbed[name]):
        yield f"after healing other bytes than of an undisturbed run: {differing}"
    # Live mode reads each minute a few times, and may have come too late to see two values of one.
    if scenario != scenarios.Live.name and (lost := ledger_of(undisturbed) - ledger_of(left)):
        yield f"after healing the ledger lacks {lost}"


def lasts(name: str) -> bool:
    """True if the file is the same after each run."""
    last = name.rpartition("/")[2].removesuffix(".tmp")
    return not is_lock(name) and last not in _OF_ITS_RUN and "quarantine" not in name


def ledger_of(tree: Tree) -> set[tuple[str, str, str]]:
    found = set[tuple[str, str, str]]()
    for name, content in tree.items():
        for line in content.splitlines() if content and name.endswith(REVISIONS_FILE) else ():
            with suppress(ValueError):  # the power was cut while it was written
                revision = json.loads(line)
                found.add((revision["day"], revision["old_sha256"], revision["new_sha256"]))
    return found


def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """A folder in memory where there is such a place: a sync has nothing to wait for there."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="power-loss-", dir=memory if os.access(memory, os.W_OK) else None)


def be_quiet() -> None:
    """Print no log lines: each revision has one, thousands of times."""
    logging.getLogger("market_data_pipeline").addHandler(logging.NullHandler())


# --- everything


def power_loss(name: str, plan: Plan, *, interval_s: float = 0, processes: int = 1) -> Counts:
    """All states of a scenario that the plan asks for."""
    be_quiet()
    began_s = time.monotonic()
    with _temporary_folder() as folder:
        replay = recorded(name, Path(folder), interval_s)
    counts = Counts(name, len(replay.recording.operations))
    moments = range(1, counts.operations)
    kills = random.Random(plan.seed).sample(moments, min(plan.kills, len(moments)))
    shares = 1 if processes == 1 else 4 * processes
    jobs = [partial(_of_share, replay, plan, share, shares) for share in range(shares)]
    jobs += [partial(_of_kill, replay, plan, at) for at in sorted(kills)]
    if processes == 1:
        for job in jobs:
            counts.add(job())
    else:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            for done in as_completed([pool.submit(job) for job in jobs]):
                counts.add(done.result())
    counts.seconds = time.monotonic() - began_s
    return counts


def _of_share(replay: Replay, plan: Plan, share: int, shares: int) -> Counts:
    be_quiet()
    with _temporary_folder() as folder:
        counts = replayed(replay, plan, Path(folder), share, shares)
    counts.cuts = len(replay.recording.operations) + 1 if share == 0 else 0
    return counts


def _of_kill(replay: Replay, plan: Plan, at: int) -> Counts:
    be_quiet()
    with _temporary_folder() as folder:
        after = killed(replay, at, Path(folder))
        counts = replayed(after, plan, Path(folder))
    counts.problems = [f"killed after {at}, {problem}" for problem in counts.problems]
    counts.cuts = len(after.recording.operations) + 1 - after.since
    return counts
