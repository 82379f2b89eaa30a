"""The last result of each asset check of each dataset, as Dagster has it, asked for in the background.

Belongs here: which checks are asked for, how often, and what an execution of a check says. Does not belong here: the
query (`dagster_client`), the verdict on a dataset (`health`).

A page never waits for Dagster for long: it shows the last answers, and says of when they are.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from market_data_pipeline.api.dagster_client import Dagster, DagsterUnavailable
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.instance.names import CHECKS, FRESH, KLINES, MATCHES_OTHER_SOURCE, asset_path, dataset_tag

_ASKED = {name: asset for name, (asset, _) in CHECKS.items()} | {FRESH: KLINES, MATCHES_OTHER_SOURCE: KLINES}
_KEPT_S = 30.0
# A pass over a thousand datasets takes a webserver some seconds: it is to have nine times as long for others.
_REST = 10
_DATASETS_TOGETHER = 20
_EXECUTIONS_SEARCHED = 10
_LONGEST_WAIT_S = 0.05
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """The last result of a check; `at_s` is when, seconds since 1970.

    `text` is its description. `is_error` is False for a warning. A check whose last run broke has not passed.
    """

    check: str
    passed: bool
    is_error: bool
    text: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Proof:
    """The last results of a dataset's checks; those that have none are left out."""

    results: tuple[Result, ...]

    @property
    def failed(self) -> list[Result]:
        """The results of checks that did not pass, errors first."""
        return sorted((result for result in self.results if not result.passed), key=lambda result: not result.is_error)

    @property
    def not_evaluated(self) -> int:
        """How many of the checks that prove a dataset have no result."""
        return len(CHECKS) - sum(result.check in CHECKS for result in self.results)

    @property
    def at_s(self) -> float | None:
        """When the dataset was proved last; None if it never was."""
        return max((result.at_s for result in self.results if result.check in CHECKS), default=None)


@dataclass(frozen=True, slots=True)
class Proofs:
    """The last proofs by `dataset_tag`; `problem` is why there are none, or no newer ones.

    `is_complete` is False while Dagster is being asked.
    """

    by_dataset: Mapping[str, Proof]
    problem: str
    is_complete: bool


class ProofWatcher:
    """The last answers of Dagster about checks. Threads may share it."""

    def __init__(self, dagster: Dagster) -> None:
        """Nothing is asked before the first call."""
        self._dagster = dagster
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._proofs: dict[str, Proof] = {}
        self._problem = ""
        self._is_asking = False
        self._rest_until_s = 0.0
        # When each dataset is asked about again; those without an answer, or with news, are not in it.
        self._due_s: dict[str, float] = {}
        self._has_news = False

    def proofs(self, datasets: Sequence[Dataset]) -> Proofs:
        """What is known; Dagster is asked again about the datasets of which that is half a minute old, or nothing."""
        with self._lock:
            now_s = time.monotonic()
            is_rested = now_s >= self._rest_until_s
            due_s = {tag: due_s for tag, due_s in self._due_s.items() if not is_rested or now_s < due_s}
            asked = [each for each in datasets if dataset_tag(each) not in due_s]
            begins = bool(asked) and not self._is_asking and (is_rested or not self._problem)
            if begins:
                self._is_asking = True
                self._answered.clear()
                # A daemon: the server may end while Dagster lets it wait.
                threading.Thread(target=self._ask_all, args=(asked,), name="proofs", daemon=True).start()
        if begins:
            self._answered.wait(_LONGEST_WAIT_S)
        with self._lock:
            return Proofs(dict(self._proofs), self._problem, not self._is_asking)

    def expect_news(self) -> None:
        """Ask again at the next call: a run has ended, and may have evaluated checks."""
        with self._lock:
            self._due_s.clear()
            self._rest_until_s, self._has_news = 0.0, self._is_asking

    def _ask_all(self, datasets: Sequence[Dataset]) -> None:
        began_s, problem = time.monotonic(), ""
        try:
            for first in range(0, len(datasets), _DATASETS_TOGETHER):
                proofs = self._ask(datasets[first : first + _DATASETS_TOGETHER])
                with self._lock:
                    self._proofs |= proofs
                    self._due_s |= dict.fromkeys(proofs, time.monotonic() + _KEPT_S)
        except DagsterUnavailable as error:
            problem = str(error)
        except Exception as error:
            _log.exception("the results of checks cannot be read")
            problem = f"the results of checks cannot be read: {type(error).__name__}, see the log of the server"
        with self._lock:
            now_s = time.monotonic()
            rest_s = max(_KEPT_S if problem else 0.0, (_REST - 1) * (now_s - began_s))
            self._problem, self._is_asking = problem, False
            self._rest_until_s = now_s + rest_s
            if self._has_news:
                self._due_s.clear()
                self._rest_until_s, self._has_news = 0.0, False
            self._answered.set()

    def _ask(self, datasets: Sequence[Dataset]) -> dict[str, Proof]:
        checks = [(dataset, name, asset_path(dataset, asset)) for dataset in datasets for name, asset in _ASKED.items()]
        found = self._dagster.executions([(path, name) for _, name, path in checks], limit=1)
        # The newest may be under way, or have been skipped: the result is in one before.
        undecided = [number for number, executions in enumerate(found) if executions and not _decided(executions)]
        if undecided:
            asked = [(checks[number][2], checks[number][1]) for number in undecided]
            again = self._dagster.executions(asked, limit=_EXECUTIONS_SEARCHED)
            for number, executions in zip(undecided, again, strict=True):
                found[number] = executions
        results: dict[str, list[Result]] = {dataset_tag(dataset): [] for dataset in datasets}
        for (dataset, name, _), executions in zip(checks, found, strict=True):
            for execution in _decided(executions)[:1]:
                results[dataset_tag(dataset)].append(_result(name, execution))
        return {tag: Proof(tuple(of_dataset)) for tag, of_dataset in results.items()}


def _decided(executions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those with a result, or whose run broke."""
    return [each for each in executions if each["evaluation"] or each["status"] == "EXECUTION_FAILED"]


def _result(check: str, execution: Mapping[str, Any]) -> Result:
    evaluation = execution["evaluation"]
    if evaluation is None:
        return Result(check, passed=False, is_error=True, text="its run broke", at_s=execution["timestamp"])
    return Result(
        check,
        passed=evaluation["success"],
        is_error=evaluation["severity"] == "ERROR",
        text=evaluation["description"] or "",
        at_s=evaluation["timestamp"],
    )
