"""Backfill: from a user's request to a Dagster run over the days that need one, and its report.

Belongs here: what the request means, which days need a run, the report. Does not belong here: loading days
(`core.loading`), running Dagster (`instance.runs`), printing, parsing of command lines or HTTP.
"""

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from market_data_pipeline.app.targets import Target
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Absence, Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import Day, days_between, iso, parse_instant
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.loading.day import MOST_ROW_GROUP_ROWS, DayResult
from market_data_pipeline.core.loading.plan import Load, Outcome, Task, note_window, plan_load
from market_data_pipeline.core.loading.request import Opened, WindowRequest, no_klines, notes_of_zone, opened
from market_data_pipeline.core.loading.window import refuse_disorder
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.revisions import Revision
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.instance.composition import opener_of, store_of
from market_data_pipeline.instance.events.noted import note_days, noted_days, stamps_of
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.instance.names import COMBINED, KLINES, MANIFEST
from market_data_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """A backfill as requested; texts are as the user wrote them, None means the default."""

    target: Target
    start: str | None = None
    end: str | None = None
    align_window: bool = True
    chunk_size: int | None = None
    refetch: bool = False
    strict_pair: bool = False

    def instants(self) -> tuple[int | None, int | None]:
        """Start and end, ms UTC, None for the defaults.

        Raises:
            UsageError: a text is no instant, the end is not after the start or before the market opened, or
                `chunk_size` is no number of rows.
        """
        start_ms = parse_instant(self.start, self.target.zone) if self.start else None
        end_ms = parse_instant(self.end, self.target.zone) if self.end else None
        refuse_disorder(start_ms, end_ms)
        if end_ms is not None and end_ms <= (opened_ms := self.target.market.opened_ms):
            raise UsageError(f"{self.target.market} has klines from {iso(opened_ms)}, none before; give a later end")
        if self.chunk_size is not None and not 1 <= self.chunk_size <= MOST_ROW_GROUP_ROWS:
            raise UsageError(f"--chunk-size {self.chunk_size} is no number of rows; give 1 to {MOST_ROW_GROUP_ROWS:,}")
        return start_ms, end_ms

    def wanted(self) -> WindowRequest:
        """The request in instants.

        Raises:
            UsageError: as `instants`.
        """
        target, (start_ms, end_ms) = self.target, self.instants()
        return WindowRequest(
            target.market,
            target.pair,
            target.zone,
            start_ms,
            end_ms,
            align=self.align_window,
            strict=self.strict_pair,
            in_catalog=target.in_catalog,
        )

    def run_config(self, window: Span) -> dict[str, int | str | bool | None]:
        """The run config of `klines_1m`."""
        config: dict[str, int | str | bool | None] = {"refetch": self.refetch, "chunk_size": self.chunk_size}
        return config if self.align_window else config | {"start_ms": window.start_ms, "end_ms": window.end_ms}


@dataclass(slots=True, repr=False)
class BackfillReport:
    """What a backfill did.

    `failed` has every failed day with the reason, `revised` each revision of stored values; `absences` and `flaws` are
    those of all days. `may_pass` is True if the same may succeed later: whatever failed did so by the exchange, the
    network or the disk.
    """

    dataset: Dataset
    folder: StorePath
    first_day: str
    last_day: str
    warnings: list[str] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    size_bytes: int = 0
    absences: list[Absence] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)
    revised: list[Revision] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    failed_checks: tuple[str, ...] = ()
    error: str | None = None
    run_id: str | None = None
    may_pass: bool = True

    @property
    def ok(self) -> bool:
        """True if every day is as it should be."""
        return not (self.failed or self.failed_checks or self.error)

    def __repr__(self) -> str:
        """Counts, as a notebook shows it: there may be thousands of days."""
        return (
            f"BackfillReport(ok={self.ok}, {self.dataset.name} {self.first_day} to {self.last_day}, "
            f"days={self.outcomes}, rows={self.rows}, absences={len(self.absences)}, flaws={len(self.flaws)}, "
            f"revised={len(self.revised)}, failed={len(self.failed)}, error={self.error!r}, run_id={self.run_id!r})"
        )

    def note(self, result: DayResult) -> None:
        """Count one day."""
        self.outcomes[result.outcome.value] = self.outcomes.get(result.outcome.value, 0) + 1
        if result.revision:
            self.revised.append(result.revision)
        if result.outcome is Outcome.FAILED:
            self.failed.append((result.day.key, result.error or "failed"))
            self.may_pass &= result.may_pass
        elif result.entry:
            self.rows += result.entry.rows
            self.size_bytes += result.entry.size_bytes
            self.absences += result.entry.absences
            self.flaws += result.entry.flaws


OnStart = Callable[[Dataset, int, KlineSource], None]
OnDay = Callable[[DayResult], None]


def backfill(settings: Settings, request: BackfillRequest, *, on_start: OnStart, on_day: OnDay) -> BackfillReport:
    """Load the requested days in a Dagster run of this process; days that are stored and recorded need none.

    Args:
        settings: the settings.
        request: what to load.
        on_start: called with the dataset, the number of days and the source before the first day.
        on_day: called with each day's result.

    Raises:
        UsageError, StoreError, SourceError: nothing was loaded.
    """
    with (
        ThreadPoolExecutor(1, thread_name_prefix="import") as beside,
        _opened(settings, request, beside) as found,
        found.files.loading(found.window),
    ):
        files, source = found.files, found.source
        load = plan_load(files, source, found.window, refetch=request.refetch)
        source.prefetch(load.spans)  # the first pages arrive while Dagster starts
        first, last = load.tasks[0].day.key, load.tasks[-1].day.key
        report = BackfillReport(files.dataset, files.folder, first, last, [*found.warnings])
        on_start(files.dataset, len(load.tasks), source)

        def note(result: DayResult) -> None:
            report.note(result)
            on_day(result)

        _run(settings, load, request.run_config(found.window), report, note, beside)
        report.warnings += source.warnings
    return report


def _opened(
    settings: Settings, request: BackfillRequest, beside: ThreadPoolExecutor | None = None
) -> AbstractContextManager[Opened]:
    """The requested dataset, see `core.loading.request.opened`, with a home of Dagster that can be used.

    With `beside`, Dagster is imported there while the exchange answers, if only Dagster can tell what it has recorded.
    """
    wanted = request.wanted()  # a wrong request is refused before the first request to the exchange
    store, opener = store_of(settings), opener_of(settings)

    def open_source(market: Market, pair: str) -> KlineSource:
        source = opener(market, pair)  # two threads that import the same modules can meet half of one
        known = store.find(market, pair)
        if beside and (known is None or noted_days(settings.home, known) is None):
            beside.submit(_import_dagster)
        return source

    return opened(store, open_source, wanted, lambda: prepare_home(settings.home))


def _import_dagster() -> None:
    """Import all that a run needs, which takes seconds."""
    from market_data_pipeline.defs import location  # noqa: F401
    from market_data_pipeline.instance import runs, storage  # noqa: F401


def _run(
    settings: Settings,
    load: Load,
    config: dict[str, int | str | bool | None],
    report: BackfillReport,
    on_day: OnDay,
    beside: ThreadPoolExecutor,
) -> None:
    """One Dagster run from the first day that needs one to the last; its outcome is put into the report."""
    home, dataset, tasks = settings.home, load.store.dataset, load.tasks
    noted, stamps = noted_days(home, dataset), stamps_of(home)
    if noted is not None and not _needed(settings, tasks, noted):
        _tell_stored(load, tasks, on_day)
        load.store.flush()
        return
    beside.submit(_import_dagster).result()  # in the same thread, so after what that has begun
    from market_data_pipeline.defs.location import definitions_of
    from market_data_pipeline.defs.resources import Caller, tools_of
    from market_data_pipeline.instance import runs
    from market_data_pipeline.instance.events.recorded import is_in_home

    with runs.open_instance(home) as instance:
        recorded = runs.recorded_days(instance, dataset)
        needed = _needed(settings, tasks, recorded)
        first, last = (needed[0], needed[-1] + 1) if needed else (len(tasks), len(tasks))
        _tell_stored(load, [*tasks[:first], *tasks[last:]], on_day)
        if not needed:
            load.store.flush()
            if is_in_home(instance):
                note_days(home, dataset, recorded, since=stamps)
            return
        tools = replace(tools_of(settings), caller=Caller(load=load, on_day=on_day))
        ended = runs.run(
            instance,
            definitions_of([dataset], tools),
            dataset,
            [KLINES, MANIFEST, *([COMBINED] if settings.build_combined_on_backfill else [])],
            days=(tasks[first].day.key, tasks[last - 1].day.key),
            config={KLINES: config},
        )
    report.run_id, report.failed_checks = ended.run_id, ended.failed_checks
    report.error = ended.error_beside(report.failed)
    report.may_pass &= not ended.failed_checks and (report.error is None or ended.may_pass)


def _needed(settings: Settings, tasks: Sequence[Task], recorded: Collection[str]) -> list[int]:
    """The places of the tasks that need a run."""
    needed = [at for at, task in enumerate(tasks) if task.needs_run(is_recorded=task.day.key in recorded)]
    return [len(tasks) - 1] if settings.build_combined_on_backfill and not needed else needed


def _tell_stored(load: Load, tasks: Sequence[Task], on_day: OnDay) -> None:
    """Tell the results of days that need no run."""
    for task in tasks:
        on_day(DayResult(task.day, task.outcome or Outcome.UNCHANGED, load.store.entries.get(task.day.key)))


@dataclass(frozen=True, slots=True)
class RunWindow:
    """What a Dagster run of another process is to load: the dataset, which exists, and the requested minutes."""

    dataset: Dataset
    window: Span
    warnings: tuple[str, ...] = ()

    @property
    def days(self) -> list[Day]:
        """The days that the window touches, in order."""
        return days_between(self.dataset.zone, self.window.start_ms, self.window.end_ms)


def run_window(settings: Settings, request: BackfillRequest) -> RunWindow:
    """What a run has to load for the request; its dataset is created if it does not exist.

    The run requests the pair's life and the exchange's clock itself. So this function sends requests only for a new
    dataset, and for a window that begins before the first day of a dataset, where there may be klines of an earlier
    pair of the symbol.

    Raises:
        UsageError, StoreError, SourceError: nothing was written.
    """
    wanted = request.wanted()
    known = store_of(settings).find(wanted.market, wanted.pair)
    if known:
        now_ms = round(time.time() * 1000)
        window, start_ms = wanted.window(known, now_ms), known.first_day.start_ms
        if window.start_ms >= start_ms:
            within = Span(window.start_ms, min(window.end_ms, now_ms))
            if within.start_ms >= within.end_ms:
                raise no_klines(known.name, start_ms, None, window)
            return RunWindow(known, within, notes_of_zone(known, wanted.zone))
    with _opened(settings, request) as found:
        files, window = found.files, found.window
        # The code location needs the dataset's first day, which an earlier window moves. All else the run notes.
        if known is None or window.start_ms < files.dataset.first_day.start_ms:
            note_window(files, window, found.source.life(window.start_ms), found.source.now_ms())
        return RunWindow(files.dataset, window, (*found.warnings, *found.source.warnings))
