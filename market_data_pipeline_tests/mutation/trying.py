"""Mutants, each tried by the tests that call the changed function: a plugin of pytest.

Belongs here: which tests try a mutant, a process for each, and how it ended. Does not belong here: what the mutants are
(`mutants`), which function one of them changes (`functions`), and what a survivor means (`__main__`).

The tests are collected once. All else is done in forks of that process, which have imported everything and started
nothing yet: the first one runs all tests, and notes which functions of the mutated modules each of them calls, and how
long it takes. In the fork of a mutant the function has the changed code before the first test runs.
"""

import gc
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

from market_data_pipeline_tests.mutation.functions import Key, Mutant, changed, functions_of

# How long a mutant may take, beside so many times what its tests took without one.
LIMIT_S, LIMIT_TIMES = 20, 5
_POLL_S = 0.01
_PASSED, _FAILED = 0, 1
_Cached: type[Any] = type(cache(str))


@dataclass
class Trial:
    """A mutant, and how it ended: `caught`, `too slow`, `survived`, `no test`, or `no change` of the code."""

    mutant: Mutant
    end: str = ""
    seconds: float = 0.0


@dataclass
class _Running:
    trial: Trial
    began: float
    limit_s: float
    folder: str


@dataclass
class Tests:
    """What each test calls, how long it takes, and the hash of its module when it was run."""

    calls: dict[str, list[Key]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @classmethod
    def kept(cls, notes: Path) -> "Tests":
        if not notes.exists():
            return cls()
        tests = cls(**json.loads(notes.read_text(encoding="utf-8")))
        tests.calls = {
            test: [(str(file), str(name), int(line)) for file, name, line in keys] for test, keys in tests.calls.items()
        }
        return tests


class Trying:
    """The plugin. After `pytest.main` its trials have ended, or `failed` names tests that fail without a mutant."""

    def __init__(
        self,
        mutants: Iterable[Mutant],
        *,
        modules: Mapping[str, str],
        notes: Path,
        processes: int,
        most_s: float,
        told: Callable[[Trial], None],
    ) -> None:
        """Import nothing yet.

        Args:
            mutants: what is tried, in this order.
            modules: the modules of all rooms, by the paths of their files.
            notes: a file of what tests call, for those whose modules do not change until the next time.
            processes: how many are tried at a time.
            most_s: the tests of a mutant take no longer than so many seconds without it.
            told: called with each trial that has ended.
        """
        self._modules, self._notes = modules, notes
        self.trials = [Trial(mutant) for mutant in mutants]
        self.failed: list[str] = []
        self._processes, self._most_s, self._told = processes, most_s, told
        self._test_failed = False

    def pytest_configure(self) -> None:
        """The same examples for each mutant, none of which is kept for the next one."""
        # Pytest warns of plugins that were imported before it starts.
        from hypothesis import settings

        settings.register_profile("mutation", database=None, derandomize=True)
        settings.load_profile("mutation")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._test_failed |= report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed:
            return None  # Not all tests can be collected, as pytest itself will say.
        # A fork of a process with threads, here those of numpy, which takes care of it.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        for module in self._modules.values():
            importlib.import_module(module)
        functions = functions_of(self._modules.keys())
        tests = self._without_mutant(session.items, functions)
        self.failed = tests.failed
        if not tests.failed:
            self._try_all(session.items, functions, tests)
        return True

    def _without_mutant(self, items: list[pytest.Item], functions: dict[Key, list[FunctionType]]) -> Tests:
        """Run the tests that are not noted, or whose module has changed since then."""
        hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in {item.path for item in items}}
        kept = Tests.kept(self._notes)
        new = [item for item in items if kept.modules.get(item.nodeid) != hashes[item.path]]

        def run() -> int:
            called: set[Key] = set()
            keys = {id(function.__code__): key for key, found in functions.items() for function in found}
            with _noting(keys, called):
                for item, following in _with_next(new):
                    called.clear()
                    began = time.monotonic()
                    passed = self._passes(item, following)
                    kept.seconds[item.nodeid] = time.monotonic() - began
                    kept.calls[item.nodeid] = sorted(called)
                    if passed:
                        kept.modules[item.nodeid] = hashes[item.path]
                    else:
                        kept.failed.append(item.nodeid)
            self._notes.write_text(json.dumps(vars(kept)), encoding="utf-8")
            return _PASSED

        kept.failed = []
        folder = tempfile.mkdtemp(prefix="mutation-")
        try:
            os.waitpid(_forked(run, folder), 0)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Tests.kept(self._notes)

    def _passes(self, item: pytest.Item, following: pytest.Item | None) -> bool:
        self._test_failed = False
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        return not self._test_failed

    def _try_all(self, items: list[pytest.Item], functions: dict[Key, list[FunctionType]], tests: Tests) -> None:
        running: dict[int, _Running] = {}
        for trial in self.trials:
            found = changed(trial.mutant)
            if found is None:
                self._end(trial, "no change")
                continue
            key, code = found
            chosen = _chosen(items, key, tests, self._most_s)
            if not chosen or key not in functions:
                self._end(trial, "no test")
                continue
            while len(running) >= self._processes:
                self._wait(running)
            folder = tempfile.mkdtemp(prefix="mutation-")
            limit_s = LIMIT_S + LIMIT_TIMES * sum(tests.seconds[item.nodeid] for item in chosen)
            process = _forked(partial(self._run, functions[key], code, chosen), folder)
            running[process] = _Running(trial, time.monotonic(), limit_s, folder)
        while running:
            self._wait(running)

    def _run(self, functions: list[FunctionType], code: CodeType, items: list[pytest.Item]) -> int:
        for function in functions:
            function.__code__ = code
        for known in gc.get_objects():
            # Of what was computed while the tests were imported.
            if isinstance(known, _Cached):
                known.cache_clear()
        passed = all(self._passes(item, following) for item, following in _with_next(items))
        return _PASSED if passed else _FAILED

    def _wait(self, running: dict[int, _Running]) -> None:
        """Until one has ended."""
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process:
                break
            time.sleep(_POLL_S)
            for overdue, each in running.items():
                if time.monotonic() - each.began > each.limit_s:
                    _kill(overdue)
        ended = running.pop(process)
        # What its tests have started and did not stop.
        _kill(process)
        shutil.rmtree(ended.folder, ignore_errors=True)
        ended.trial.seconds = time.monotonic() - ended.began
        if os.WIFSIGNALED(status) and ended.trial.seconds > ended.limit_s:
            self._end(ended.trial, "too slow")
        else:
            self._end(ended.trial, "caught" if status else "survived")

    def _end(self, trial: Trial, end: str) -> None:
        trial.end = end
        self._told(trial)


def _with_next(items: list[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True)


def _chosen(items: list[pytest.Item], key: Key, tests: Tests, most_s: float) -> list[pytest.Item]:
    """The tests that call the function: those of its module, of its folder, then of each module of tests one in turn.

    Of a module those come first that call little else: they look at this function the closest.
    """
    source = Path(key[0])
    calling = [item for item in items if key in tests.calls[item.nodeid]]
    calling.sort(key=lambda item: (len(tests.calls[item.nodeid]), tests.seconds[item.nodeid]))
    turns: Counter[Path] = Counter()
    ordered: list[tuple[tuple[bool, bool], int, pytest.Item]] = []
    for item in calling:
        is_far = source.stem not in item.path.stem, source.parent.name not in item.path.stem
        ordered.append((is_far, turns[item.path], item))
        turns[item.path] += 1
    chosen, seconds = [], 0.0
    for *_, item in sorted(ordered, key=lambda each: each[:2]):
        seconds += tests.seconds[item.nodeid]
        if chosen and seconds > most_s:
            break
        chosen.append(item)
    return chosen


@contextmanager
def _noting(keys: dict[int, Key], called: set[Key]) -> Iterator[None]:
    """Note which functions this thread, and those that it starts, call."""

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and (key := keys.get(id(frame.f_code))):
            called.add(key)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def _forked(run: Callable[[], int], folder: str) -> int:
    """The process of a fork, which prints nothing and has its temporary files in this folder."""
    process = os.fork()
    if process:
        return process
    status = _FAILED
    try:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        os.environ["TMPDIR"] = os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = folder
        status = run()
    finally:
        os._exit(status)


def _kill(process: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
