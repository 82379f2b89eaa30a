"""Backfill of many datasets: from users' requests to one Dagster run that records all of them, and its report.

Belongs here: when a run is needed, the report. Does not belong here: which pairs are meant (`targets`), loading
(`core.bulk`), recording (`defs.bulk`), one dataset (`backfill`).
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from market_data_pipeline.app.backfill import BackfillRequest
from market_data_pipeline.core.bulk.load import Begun, Ended, Message, Work, load_many
from market_data_pipeline.core.klines.coverage import minutes_by_kind
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.core.proof.combined import Agreement
from market_data_pipeline.core.proof.prove import Proof
from market_data_pipeline.core.sources.protocol import Usage
from market_data_pipeline.instance.composition import opener_of, store_of
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import LOAD_JOB, LOAD_OP
from market_data_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

Told = tuple[WindowRequest, Message]


@dataclass(slots=True)
class LoadedDataset:
    """What became of one dataset of a load of many.

    Attributes:
        name: market and pair.
        dataset: None if it could not be opened.
        outcomes: how many days had each outcome.
        rows, size_bytes: of all its days.
        absent_minutes: by kind.
        flaws: how many klines break a rule and are kept.
        warnings: what a user should know.
        failed: each failed day, and `combined` if its file is not as it should be, with the reason.
        error: why it was not loaded at all, or not to its end.
        may_pass: True if the same may succeed later: whatever failed did so by the exchange, the network or the disk.
    """

    name: str
    dataset: Dataset | None = None
    outcomes: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    size_bytes: int = 0
    absent_minutes: dict[str, int] = field(default_factory=dict)
    flaws: int = 0
    warnings: tuple[str, ...] = ()
    failed: list[tuple[str, str]] = field(default_factory=list)
    error: str | None = "not loaded to its end: the load was ended before"
    may_pass: bool = True

    @property
    def ok(self) -> bool:
        """True if every day is as it should be."""
        return not (self.failed or self.error)

    def note(self, message: Message) -> None:
        """Count a message."""
        match message:
            case Begun():
                self.dataset, self.name = message.dataset, message.dataset.name
            case DayResult():
                self._note_day(message)
            case Ended():
                self.warnings, self.error = message.warnings, message.error
                if message.error and message.status:  # loaded, and not combined
                    self.failed.append(("combined", message.error))
                    self.error = None
                self.may_pass &= message.error is None or message.may_pass
                if message.proof and not message.proof.ok:
                    self._note_proof(message.proof)
            case Usage():
                pass

    def _note_proof(self, proof: Proof) -> None:
        """Count what the proof of the new days found, but for days that have failed already."""
        self.may_pass = False
        known = {day for day, _ in self.failed}
        errors = [(found.day, found.problem) for found in proof.verification.errors]
        if proof.combined is Agreement.DAMAGED:
            errors.append(("combined", proof.combined_problem))
        self.failed += [(what, problem) for what, problem in errors if what not in known]

    def _note_day(self, result: DayResult) -> None:
        self.outcomes[result.outcome.value] = self.outcomes.get(result.outcome.value, 0) + 1
        if result.outcome is Outcome.FAILED:
            self.failed.append((result.day.key, result.error or "failed"))
            self.may_pass &= result.may_pass
        elif result.entry:
            self.rows += result.entry.rows
            self.size_bytes += result.entry.size_bytes
            self.flaws += len(result.entry.flaws)
            for kind, minutes in minutes_by_kind(result.entry.absences).items():
                self.absent_minutes[kind] = self.absent_minutes.get(kind, 0) + minutes


@dataclass(slots=True, repr=False)
class ManyReport:
    """What a backfill of many datasets did, by request.

    `run_id` is None if no run was needed. `error` is why the run failed, None if it did not or a dataset says why.
    """

    datasets: dict[WindowRequest, LoadedDataset]
    run_id: str | None = None
    error: str | None = None
    run_may_pass: bool = True

    def __repr__(self) -> str:
        """Counts, as a notebook shows it: there may be a thousand datasets."""
        days = Counter[str]()
        for loaded in self.datasets.values():
            days.update(loaded.outcomes)
        rows = sum(loaded.rows for loaded in self.datasets.values())
        return (
            f"ManyReport(ok={self.ok}, datasets={len(self.datasets)}, failed={len(self.failed)}, days={dict(days)}, "
            f"rows={rows}, error={self.error!r}, run_id={self.run_id!r})"
        )

    @property
    def may_pass(self) -> bool:
        """True if the same may succeed later: whatever failed did so by the exchange, the network or the disk."""
        return self.run_may_pass and all(loaded.may_pass for loaded in self.failed)

    @property
    def failed(self) -> list[LoadedDataset]:
        """The datasets with a failed day, or that were not loaded."""
        return [loaded for loaded in self.datasets.values() if not loaded.ok]

    @property
    def ok(self) -> bool:
        """True if every dataset is as it should be."""
        return not self.failed and self.error is None


def backfill_many(
    settings: Settings,
    requests: Sequence[BackfillRequest],
    *,
    on_message: Callable[[WindowRequest, Message], None],
) -> ManyReport:
    """Load the requested windows, several datasets at once, and record them in one Dagster run of this process.

    There is no run if Dagster has all of the days already.

    Args:
        settings: the settings.
        requests: one for each dataset; they differ in nothing but the target.
        on_message: called with each request and what is told about it.

    Raises:
        UsageError: a request is wrong; nothing was written.
        StoreUnavailable: the data root or the home of Dagster cannot be written.
    """
    # A pair that does not exist is one of those that failed: to load BTC/USDT in its place would help nobody.
    wanted = [replace(request.wanted(), strict=True) for request in requests]
    store_of(settings).require_writable()
    prepare_home(settings.home)
    report = ManyReport({request: LoadedDataset(request.name) for request in wanted})
    first = requests[0]
    log = partial(log_to, settings.logs)
    build_combined = settings.build_combined_on_backfill
    work = Work(store_of(settings), opener_of(settings), log, first.refetch, first.chunk_size, build_combined)
    with closing(load_many(wanted, work)) as told:
        _record(settings, _noted(told, report, on_message), report, run_config(settings, requests))
    return report


def _noted(
    told: Iterator[Told], report: ManyReport, on_message: Callable[[WindowRequest, Message], None]
) -> Generator[Told]:
    for request, message in told:
        report.datasets[request].note(message)
        on_message(request, message)
        yield request, message


def run_config(settings: Settings, requests: Sequence[BackfillRequest]) -> dict[str, Any]:
    """The config of the job `load` for these requests."""
    first = requests[0]
    return {
        "market": first.target.market.value,
        "pairs": [request.target.pair for request in requests],
        "start": first.start,
        "end": first.end,
        "tz": first.target.zone.name,
        "align_window": first.align_window,
        "source": settings.market_data_source,
        "refetch": first.refetch,
        "chunk_size": first.chunk_size,
        "in_catalog": all(request.target.in_catalog for request in requests),
    }


def _record(settings: Settings, told: Generator[Told], report: ManyReport, config: dict[str, Any]) -> None:
    """Record what is told in a run, from the first message on that Dagster does not know."""
    from market_data_pipeline.instance import runs  # takes seconds, in which the first days are loaded

    with runs.open_instance(settings.home) as instance:
        before = _known(told, instance)
        if before is None:
            return
        from market_data_pipeline.defs.location import jobs_of
        from market_data_pipeline.defs.resources import Caller, tools_of

        messages = _joined(before, told)
        tools = replace(tools_of(settings), caller=Caller(messages=messages))
        ended = runs.run_op(instance, jobs_of(tools), LOAD_JOB, LOAD_OP, config=config, tags={})
    report.run_id = ended.run_id
    report.error = ended.error_beside(report.failed)
    report.run_may_pass = report.error is None or ended.may_pass


def _joined(before: Iterable[Told], told: Generator[Told]) -> Generator[Told]:
    yield from before
    yield from told


def _known(told: Iterator[Told], instance: "DagsterInstance") -> list[Told] | None:
    """The messages up to and with the first that Dagster has to know; None if there is none at all.

    Datasets that have ended by then are left out: Dagster knows all of their days.
    """
    from market_data_pipeline.instance import runs

    begun: dict[WindowRequest, list[Told]] = {}
    recorded: dict[WindowRequest, set[str]] = {}
    for request, message in told:
        begun.setdefault(request, []).append((request, message))
        if isinstance(message, Begun):
            recorded[request] = runs.recorded_days(instance, message.dataset)
        elif isinstance(message, DayResult):
            is_new = message.outcome in {Outcome.LOADED, Outcome.FAILED}
            if is_new or (message.outcome.is_recorded and message.day.key not in recorded[request]):
                return list(chain.from_iterable(begun.values()))
        elif isinstance(message, Ended):
            if message.combined and message.combined.built:
                return list(chain.from_iterable(begun.values()))
            del begun[request]
    return None
