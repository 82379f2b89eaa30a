"""A command as a process of its own, measured from outside; medians of repeated runs.

Belongs here: time and memory of child processes, statistics. Does not belong here: which commands, the exchange.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from market_data_pipeline.settings import Settings

PROJECT = Path(__file__).resolve().parents[1]
_LOOK_EVERY_S = 0.02
# To find the children takes some ms of a core.
_CHILDREN_EVERY = 20
_LONGEST_RUN_S = 1800
NONE: Mapping[str, str] = {}


class BenchmarkFailed(Exception):
    """A measured run did not do what it should have done, so its time means nothing."""


class NotHere(BenchmarkFailed):
    """This machine lacks what the benchmark needs."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process: seconds from start to end, seconds of CPU and most memory as last seen (every 20 ms), its stdout.

    CPU includes that of child processes which have ended, on Linux.
    """

    wall_s: float
    cpu_s: float
    seen_peak_rss_bytes: int
    output: str

    @property
    def facts(self) -> dict[str, Any]:
        """What a script of `benchmarks.measured` printed about itself: its last line, JSON."""
        facts: dict[str, Any] = json.loads(self.output.strip().splitlines()[-1])
        return facts


def wall(run: Run) -> float:
    """Seconds of the whole process."""
    return run.wall_s


def cpu(run: Run) -> float:
    """Seconds of CPU of the whole process, all threads together."""
    return run.cpu_s


def work(run: Run) -> float:
    """Seconds of a script's work, without interpreter start and imports."""
    return float(run.facts["seconds_of_work"])


def peak(run: Run) -> float:
    """Bytes of a script's own peak of memory, imports included."""
    return float(run.facts["peak_rss_bytes"])


def seen_peak(runs: Sequence[Run]) -> str:
    """The most memory seen from outside, of any process."""
    return f"{max(run.seen_peak_rss_bytes for run in runs) / 1e6:.0f} MB"


def python(
    *arguments: str,
    root: Path | str,
    url: str | None = None,
    checkout: Path = PROJECT,
    with_children: bool = False,
    variables: Mapping[str, str] = NONE,
) -> Run:
    """Run this interpreter with the arguments, on the data root and the exchange, with the modules of the checkout.

    With `with_children` the memory is that of the process and its children together. `variables` are added to the
    environment.

    Raises:
        BenchmarkFailed: it ended with an error, or took more than half an hour.
    """
    command = [sys.executable, *arguments]
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=checkout,
        env={**environment(root, url), "PYTHONPATH": str(checkout), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    watcher = _Watcher(process, with_children=with_children)
    output, errors = process.communicate()
    wall_s = time.perf_counter() - began
    if process.returncode:
        raise BenchmarkFailed(f"{' '.join(command)} ended with {process.returncode}:\n{output[-2000:]}{errors[-4000:]}")
    watcher.wait()
    return Run(wall_s, watcher.cpu_s, watcher.peak_rss_bytes, output)


class _Watcher:
    """Reads a process's CPU time and memory until it ends, and ends it if it takes too long."""

    def __init__(self, process: "subprocess.Popen[str]", *, with_children: bool) -> None:
        self._process, self._with_children = process, with_children
        self.cpu_s, self.peak_rss_bytes = 0.0, 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        self._thread.join()

    def _watch(self) -> None:
        until = time.monotonic() + _LONGEST_RUN_S
        try:
            process = psutil.Process(self._process.pid)
            children, looks = 0, count()
            while self._process.returncode is None:
                look = next(looks)
                memory, cpu = process.memory_info(), process.cpu_times()
                if self._with_children and look % _CHILDREN_EVERY == 0:
                    children = sum(map(_rss_bytes, process.children(recursive=True)))
                self.peak_rss_bytes = max(self.peak_rss_bytes, getattr(memory, "peak_wset", memory.rss) + children)
                of_children = getattr(cpu, "children_user", 0.0) + getattr(cpu, "children_system", 0.0)
                self.cpu_s = max(self.cpu_s, cpu.user + cpu.system + of_children)
                if time.monotonic() > until:
                    self._process.kill()
                    return
                time.sleep(_LOOK_EVERY_S)
        except psutil.Error:
            return


def _rss_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has just ended
        return 0


def environment(root: Path | str, url: str | None) -> dict[str, str]:
    """This environment without the user's settings, and with .pyc files, as an installed program has them."""
    ours = {name.upper() for name in Settings.model_fields} | {"PYTHONDONTWRITEBYTECODE"}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in ours}
    settings = {"MARKET_DATA_DIR": str(root), "NO_PROXY": "127.0.0.1", "PYTHONIOENCODING": "utf-8"}
    return {**kept, **settings, **({"MARKET_DATA_EXCHANGE_URL": url} if url else {})}


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of repeated measurements."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def shown(self, show: Callable[[float], str]) -> str:
        """The median, with least and most where there was more than one measurement."""
        if len(self.values) == 1:
            return show(self.median)
        return f"{show(self.median)} ({show(min(self.values))}..{show(max(self.values))}, n={len(self.values)})"


def alternating(times: int, *sides: Callable[[], Run]) -> list[list[Run]]:
    """Run the sides one after the other (A B A B ...), so that a slow minute of the machine hits all of them."""
    rounds = [[side() for side in sides] for _ in range(times)]
    return [list(runs) for runs in zip(*rounds, strict=True)]
