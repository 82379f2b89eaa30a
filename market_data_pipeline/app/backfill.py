"""A backfill as a person asks for it: from the request to a Dagster run over the days that need one, and its report.

Belongs here: what the request means, what is left to do, whom to tell. Does not belong here: loading days
(`core.backfill`), starting runs (`runs`), printing, parsing of command lines or HTTP.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from market_data_pipeline.app.targets import Target
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Absence, Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day, days_between, iso, parse_instant
from market_data_pipeline.core.loading.load_days import DayResult, prefetch
from market_data_pipeline.core.loading.plan import Outcome, Task, parse_window, plan, possible, refuse_disorder
from market_data_pipeline.core.loading.resolve import Resolved, prepare, resolve
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.revisions import Revision
from market_data_pipeline.instance.composition import opener_of, store_of
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.instance.names import COMBINED, KLINES, MANIFEST
from market_data_pipeline.settings import Settings


@dataclass(slots=True)
class BackfillReport:
    """What a backfill did.

    `failed` has every failed day, `revised` what the exchange now says otherwise; `absences` are those of all days.
    """

    dataset: Dataset
    folder: Path
    first_day: str
    last_day: str
    warnings: list[str] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    size_bytes: int = 0
    absences: list[Absence] = field(default_factory=list)
    revised: list[Revision] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    failed_checks: tuple[str, ...] = ()
    error: str | None = None
    run_id: str | None = None

    @property
    def ok(self) -> bool:
        """True if every day is as it should be."""
        return not (self.failed or self.failed_checks or self.error)

    def note(self, result: DayResult) -> None:
        """Count one day."""
        self.outcomes[result.outcome.value] = self.outcomes.get(result.outcome.value, 0) + 1
        if result.revision:
            self.revised.append(result.revision)
        if result.outcome is Outcome.FAILED:
            self.failed.append((result.day.key, result.error or "failed"))
        elif result.entry:
            self.rows += result.entry.rows
            self.size_bytes += result.entry.size_bytes
            self.absences += result.entry.absences


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """A backfill as asked for; texts are as the user wrote them, None means the default."""

    target: Target
    start: str | None = None
    end: str | None = None
    align_window: bool = True
    chunk_size: int | None = None
    refetch: bool = False
    strict_pair: bool = False


OnStart = Callable[[Dataset, int, KlineSource], None]
OnDay = Callable[[DayResult], None]


@dataclass(frozen=True, slots=True)
class Ready:
    """A backfill whose dataset exists: the pair and its open source, its files, the minutes that there can be."""

    resolved: Resolved
    files: DatasetStore
    window: Span

    @property
    def warnings(self) -> list[str]:
        """What a person should be told first."""
        return [*self.files.warnings, *([self.resolved.warning] if self.resolved.warning else [])]

    @property
    def days(self) -> list[Day]:
        """The days that the window touches, in order."""
        return days_between(self.files.dataset.zone, self.window.start_ms, self.window.end_ms)

    def config(self, request: BackfillRequest) -> dict[str, int | str | bool | None]:
        """The run config of the klines."""
        config: dict[str, int | str | bool | None] = {"refetch": request.refetch, "chunk_size": request.chunk_size}
        if request.align_window:
            return config
        return config | {"start_ms": self.window.start_ms, "end_ms": self.window.end_ms}


@contextmanager
def ready(settings: Settings, request: BackfillRequest) -> Iterator[Ready]:
    """Make the dataset of the request exist, and note what was asked for; no kline is loaded yet.

    Raises:
        UsageError, StoreError, SourceError: nothing was written.
    """
    target, store = request.target, store_of(settings)
    start_ms = parse_instant(request.start, target.zone) if request.start else None
    end_ms = parse_instant(request.end, target.zone) if request.end else None
    refuse_disorder(start_ms, end_ms)
    if request.chunk_size is not None and request.chunk_size < 1:
        raise UsageError(f"--chunk-size {request.chunk_size} is no number of rows; give 1 or more")
    store.find(target.market, target.pair)  # a damaged dataset.json is said before any request
    resolved = resolve(opener_of(settings), target.market, target.pair, strict=request.strict_pair)
    with closing(resolved.source) as source:
        known = store.find(resolved.market, resolved.pair)
        align_to = [target.zone, known.zone if known else target.zone] if request.align_window else []
        window = parse_window(start_ms=start_ms, end_ms=end_ms, now_ms=source.now_ms(), align_to=align_to)
        reachable = _reachable(resolved, window)
        store.require_writable()
        prepare_home(settings.home)
        yield Ready(resolved, prepare(store, resolved, zone=target.zone, window=window), reachable)


def backfill(settings: Settings, request: BackfillRequest, *, on_start: OnStart, on_day: OnDay) -> BackfillReport:
    """Load the asked days in a Dagster run of this process; days that are there and recorded need none.

    Args:
        settings: the settings.
        request: what to load.
        on_start: told the dataset, the number of days and the source before the first day.
        on_day: told of each day as it finishes.

    Raises:
        UsageError, StoreError, SourceError: nothing was written.
    """
    with ready(settings, request) as load:
        source, files = load.resolved.source, load.files
        tasks = plan(files, load.window, source.life(), source.now_ms(), refetch=request.refetch)
        prefetch(source, tasks)
        report = BackfillReport(files.dataset, files.folder, tasks[0].day.key, tasks[-1].day.key)
        report.warnings += load.warnings
        on_start(files.dataset, len(tasks), source)

        def told(result: DayResult) -> None:
            report.note(result)
            on_day(result)

        _Load(settings, load, load.config(request), report, told).run(tasks)
        report.warnings += source.warnings
    return report


def _reachable(resolved: Resolved, window: Span) -> Span:
    life = resolved.source.life()
    reachable = possible(window, life, resolved.source.now_ms())
    if reachable is None:
        until = "" if life.last_open_ms is None else f" to {iso(life.last_open_ms)}"
        raise UsageError(
            f"{resolved.market} {resolved.pair} has klines from {iso(life.first_open_ms)}{until}, none in the asked "
            f"window {iso(window.start_ms)} to {iso(window.end_ms)}; give another --start or --end"
        )
    return reachable


@dataclass(frozen=True, slots=True)
class _Load:
    """The circumstances of one backfill."""

    settings: Settings
    load: Ready
    config: dict[str, int | str | bool | None]
    report: BackfillReport
    on_day: OnDay

    def run(self, tasks: Sequence[Task]) -> None:
        """One Dagster run from the first day that needs one to the last; the report takes its outcome."""
        from market_data_pipeline.defs.location import definitions_of  # takes seconds, in which the first pages arrive
        from market_data_pipeline.defs.resources import tools_of
        from market_data_pipeline.instance import runs

        with runs.open_instance(self.settings.home) as instance:
            recorded = runs.recorded_days(instance, self.load.files.dataset)
            first, last = self._days_that_need_a_run(tasks, recorded)
            for task in (*tasks[:first], *tasks[last:]):
                outcome = task.outcome or Outcome.UNCHANGED
                self.on_day(DayResult(task.day, outcome, self.load.files.entries.get(task.day.key)))
            if first == last:
                self.load.files.flush()
                return
            source, on_day = self.load.resolved.source, self.on_day
            tools = replace(tools_of(self.settings), open_source=lambda market, pair: source, on_day=on_day)
            ended = runs.run(
                instance,
                definitions_of([self.load.files.dataset], tools),
                self.load.files.dataset,
                [KLINES, MANIFEST, *([COMBINED] if self.settings.build_combined_on_backfill else [])],
                days=(tasks[first].day.key, tasks[last - 1].day.key),
                config={KLINES: self.config},
            )
        self.report.run_id, self.report.failed_checks = ended.run_id, ended.failed_checks
        self.report.error = None if self.report.failed else ended.error

    def _days_that_need_a_run(self, tasks: Sequence[Task], recorded: set[str]) -> tuple[int, int]:
        """From the first to the last task with something to ask for, or with a day that Dagster does not know."""
        needed = [number for number, task in enumerate(tasks) if task.outcome is None or task.day.key not in recorded]
        if self.settings.build_combined_on_backfill and not needed:
            return len(tasks) - 1, len(tasks)
        return (needed[0], needed[-1] + 1) if needed else (len(tasks), len(tasks))
