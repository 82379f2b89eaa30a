"""Backfill: from a user's request to a Dagster run over the days that need one, and its report.

Belongs here: what the request means, which days need a run, the report. Does not belong here: loading days
(`core.loading`), running Dagster (`instance.runs`), printing, parsing of command lines or HTTP.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from market_data_pipeline.app.targets import Target
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Absence, Span
from market_data_pipeline.core.klines.dataset import Dataset, default_start
from market_data_pipeline.core.klines.days import Day, days_between, iso, parse_instant
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Load, Outcome, note_window, plan_load
from market_data_pipeline.core.loading.resolve import dataset_of, resolve
from market_data_pipeline.core.loading.window import parse_window, reachable, refuse_disorder
from market_data_pipeline.core.sources.protocol import KlineSource, Life
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.revisions import Revision
from market_data_pipeline.instance.composition import opener_of, store_of
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
            UsageError: a text is no instant, the end is not after the start, or `chunk_size` is no number of rows.
        """
        start_ms = parse_instant(self.start, self.target.zone) if self.start else None
        end_ms = parse_instant(self.end, self.target.zone) if self.end else None
        refuse_disorder(start_ms, end_ms)
        if self.chunk_size is not None and self.chunk_size < 1:
            raise UsageError(f"--chunk-size {self.chunk_size} is no number of rows; give 1 or more")
        return start_ms, end_ms

    def window(self, known: Dataset | None, now_ms: int) -> Span:
        """The requested minutes, whole days of the target's zone and of the dataset's unless `align_window` is off.

        Args:
            known: the dataset if it exists, else it will have the target's zone.
            now_ms: the present, ms UTC.

        Raises:
            UsageError: as `instants`, or the start is in the future.
        """
        start_ms, end_ms = self.instants()
        align_to = [self.target.zone, known.zone if known else self.target.zone] if self.align_window else []
        return parse_window(start_ms=start_ms, end_ms=end_ms, now_ms=now_ms, align_to=align_to)

    def run_config(self, window: Span) -> dict[str, int | str | bool | None]:
        """The run config of `klines_1m`."""
        config: dict[str, int | str | bool | None] = {"refetch": self.refetch, "chunk_size": self.chunk_size}
        return config if self.align_window else config | {"start_ms": window.start_ms, "end_ms": window.end_ms}


@dataclass(slots=True)
class BackfillReport:
    """What a backfill did.

    `failed` has every failed day with the reason, `revised` each revision of stored values; `absences` and `flaws` are
    those of all days. `may_pass` is False if a failed day or the run failed for another reason than the exchange, the
    network or the disk.
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
    with _requested(settings, request) as (files, source, window, warnings), files.loading(window):
        load = plan_load(files, source, window, refetch=request.refetch)
        source.prefetch(load.spans)  # the first pages arrive while Dagster is imported
        report = BackfillReport(files.dataset, files.folder, load.tasks[0].day.key, load.tasks[-1].day.key, warnings)
        on_start(files.dataset, len(load.tasks), source)

        def note(result: DayResult) -> None:
            report.note(result)
            on_day(result)

        _run(settings, load, request.run_config(window), report, note)
        report.warnings += source.warnings
    return report


@contextmanager
def _requested(
    settings: Settings, request: BackfillRequest
) -> Iterator[tuple[DatasetStore, KlineSource, Span, list[str]]]:
    """The files of the requested dataset, its open source, the window as far as there can be klines, and warnings.

    Raises:
        UsageError, StoreError, SourceError: nothing was written.
    """
    target, store = request.target, store_of(settings)
    request.instants()  # a wrong request is refused before the first request to the exchange
    known = store.find(target.market, target.pair)  # a damaged dataset.json is refused, too
    resolved = resolve(opener_of(settings), target.market, target.pair, strict=request.strict_pair, known=known)
    with closing(resolved.source) as source:
        now_ms = source.now_ms()
        window = request.window(store.find(resolved.market, resolved.pair), now_ms)
        life = source.life(window.start_ms, between=known.reused if known else None)
        zone = known.zone if known else target.zone
        within_life = reachable(window, life, now_ms, zone)
        if within_life is None:
            raise _no_klines(f"{resolved.market} {resolved.pair}", life.first_open_ms, life.last_open_ms, window)
        store.require_writable()
        prepare_home(settings.home)
        files = dataset_of(store, resolved, zone=target.zone, window=window)
        fallback = [resolved.warning] if resolved.warning else []
        yield files, source, within_life, [*files.warnings, *fallback, *_notes(life)]


def _notes(life: Life) -> Iterator[str]:
    """What a user should know of the pair's life, one line each."""
    if life.between:
        until, since = iso(life.between.start_ms), iso(life.between.end_ms)
        yield f"an earlier pair had this symbol until {until}, this one begins {since}"
    if life.paused_ms is not None:
        yield (
            f"not traded since {iso(life.paused_ms)}, and no proof of an end: a pause, or an end that the exchange's "
            "status does not tell; each later load asks again"
        )


def _no_klines(name: str, first_ms: int, last_ms: int | None, window: Span) -> UsageError:
    until = "" if last_ms is None else f" to {iso(last_ms)}"
    return UsageError(
        f"{name} has klines from {iso(first_ms)}{until}, none in the requested window {iso(window.start_ms)} to "
        f"{iso(window.end_ms)}; give another --start or --end"
    )


def _run(
    settings: Settings,
    load: Load,
    config: dict[str, int | str | bool | None],
    report: BackfillReport,
    on_day: OnDay,
) -> None:
    """One Dagster run from the first day that needs one to the last; its outcome is put into the report."""
    from market_data_pipeline.instance import runs  # takes seconds, in which the first pages arrive

    dataset, tasks = load.store.dataset, load.tasks
    with runs.open_instance(settings.home) as instance:
        recorded = runs.recorded_days(instance, dataset)
        needed = [at for at, task in enumerate(tasks) if task.needs_run(is_recorded=task.day.key in recorded)]
        if settings.build_combined_on_backfill and not needed:
            needed = [len(tasks) - 1]
        first, last = (needed[0], needed[-1] + 1) if needed else (len(tasks), len(tasks))
        for task in (*tasks[:first], *tasks[last:]):
            on_day(DayResult(task.day, task.outcome or Outcome.UNCHANGED, load.store.entries.get(task.day.key)))
        if not needed:
            load.store.flush()
            return
        # Where nothing is to be done, the definitions and all that they import are not needed.
        from market_data_pipeline.defs.location import definitions_of
        from market_data_pipeline.defs.resources import Caller, tools_of

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
    report.error = None if report.failed else ended.error
    report.may_pass &= not ended.failed_checks and (report.error is None or ended.may_pass)


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
    dataset, and for a window that begins before the first day of a dataset that starts in 2020 or earlier.

    Raises:
        UsageError, StoreError, SourceError: nothing was written.
    """
    request.instants()
    known = store_of(settings).find(request.target.market, request.target.pair)
    if known:
        now_ms = round(time.time() * 1000)
        window, start_ms = request.window(known, now_ms), known.first_day.start_ms
        # A dataset that starts later than 2020 starts on the pair's first day, so nothing is missing before it.
        if window.start_ms >= start_ms or known.start > default_start(known.zone):
            within = Span(max(window.start_ms, start_ms), min(window.end_ms, now_ms))
            if within.start_ms >= within.end_ms:
                raise _no_klines(known.name, start_ms, None, window)
            return RunWindow(known, within)
    with _requested(settings, request) as (files, source, window, warnings):
        # The code location needs the dataset's first day, which an earlier window moves.
        note_window(files, window, source.life(window.start_ms), source.now_ms())
        return RunWindow(files.dataset, window, (*warnings, *source.warnings))
