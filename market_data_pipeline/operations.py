"""What a person can ask for, whatever the face: backfill, verify and repair, combine, status.

Belongs here: turning a request into core calls and Dagster runs, and their outcome into one report. Does not belong
here: parsing of command lines or HTTP, printing, how runs are started (`runs`).
Dagster is imported only by what needs a run, so that the rest starts quickly.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from market_data_pipeline.core.backfill import DayResult, ask_ahead
from market_data_pipeline.core.combine import Agreement, compare, select
from market_data_pipeline.core.coverage import Absence, Span, intersect
from market_data_pipeline.core.dataset import Dataset, Market, parse_market, parse_pair
from market_data_pipeline.core.dataset_store import DatasetStore
from market_data_pipeline.core.days import Day, Zone, days_between, iso, parse_instant, parse_zone
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.manifest import Entry
from market_data_pipeline.core.plan import Outcome, parse_window, possible, refuse_disorder
from market_data_pipeline.core.resolve import Resolved, prepare, resolve
from market_data_pipeline.core.sources.base import KlineSource
from market_data_pipeline.core.status import DatasetStatus, status_of
from market_data_pipeline.core.verify import Verification, verify
from market_data_pipeline.home import prepare_home
from market_data_pipeline.settings import Settings
from market_data_pipeline.wiring import opener_of, store_of

if TYPE_CHECKING:
    from market_data_pipeline import runs


@dataclass(frozen=True, slots=True)
class Target:
    """The dataset that a request is about; `named` is False if the user left it to the settings."""

    market: Market
    pair: str
    zone: Zone
    named: bool


@dataclass(slots=True)
class BackfillReport:
    """What a backfill did. `failed` has every failed day; `absences` are those of all days it was about."""

    dataset: Dataset
    folder: Path
    first_day: str
    last_day: str
    warnings: list[str] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    size_bytes: int = 0
    absences: list[Absence] = field(default_factory=list)
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


def target_of(settings: Settings, market: str | None = None, pair: str | None = None, tz: str | None = None) -> Target:
    """The target that the named parts and, for the rest, the settings mean.

    Raises:
        UsageError: no such market, pair or zone.
    """
    return Target(
        market=parse_market(market or settings.market_type),
        pair=parse_pair(pair or settings.symbol),
        zone=parse_zone(tz or settings.align_tz),
        named=market is not None or pair is not None,
    )


def backfill(settings: Settings, request: BackfillRequest, *, on_start: OnStart, on_day: OnDay) -> BackfillReport:
    """Load the asked days in a Dagster run of this process.

    Args:
        settings: the settings.
        request: what to load.
        on_start: told the dataset, the number of days and the source before the first day.
        on_day: told of each day as it finishes.

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
        files = prepare(store, resolved, zone=target.zone, window=window)
        days = days_between(files.dataset.zone, reachable.start_ms, reachable.end_ms)
        report = BackfillReport(files.dataset, files.folder, days[0].key, days[-1].key)
        report.warnings += [*files.warnings, *([resolved.warning] if resolved.warning else [])]
        on_start(files.dataset, len(days), source)
        ask_ahead(files, source, reachable, refetch=request.refetch)

        def told(result: DayResult) -> None:
            report.note(result)
            on_day(result)

        _run(settings, request, report, source, reachable, told)
        report.warnings += source.remarks
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


def _run(
    settings: Settings,
    request: BackfillRequest,
    report: BackfillReport,
    source: KlineSource,
    window: Span,
    on_day: OnDay,
) -> None:
    """One Dagster run over the days of the report; the report takes its outcome."""
    from market_data_pipeline import runs  # takes seconds, in which the first pages arrive

    config = {"refetch": request.refetch, "chunk_size": request.chunk_size}
    if not request.align_window:
        config |= {"start_ms": window.start_ms, "end_ms": window.end_ms}
    assets = ["klines_1m", "manifest", *(["combined"] if settings.build_combined_on_backfill else [])]
    tools = replace(runs.tools_of(settings), open_source=lambda market, pair: source, on_day=on_day)
    days = (report.first_day, report.last_day)
    with runs.open_instance(settings.home) as instance:
        ended = runs.run(instance, tools, report.dataset, assets, days=days, config={"klines_1m": config})
    report.run_id, report.failed_checks = ended.run_id, ended.failed_checks
    report.error = None if report.failed else ended.error


@dataclass(frozen=True, slots=True)
class DatasetProof:
    """A dataset's verification, how its combined file stands to its chunks, and what was noticed on the way."""

    verification: Verification
    combined: Agreement
    combined_problem: str
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if nothing is damaged and nothing unexplained."""
        return self.verification.ok and self.combined is not Agreement.DAMAGED


def verify_datasets(settings: Settings, target: Target, *, start: str | None, end: str | None) -> list[DatasetProof]:
    """Verify the target's dataset, or every dataset of the store if the user named none.

    Raises:
        UsageError: there is no such dataset, or the window is empty.
    """
    start_ms = parse_instant(start, target.zone) if start else 0
    end_ms = parse_instant(end, target.zone) if end else 1 << 62
    if end_ms <= start_ms:
        raise UsageError(f"the end {end} is not after the start {start}; give a later --end")
    window = Span(start_ms, end_ms) if start or end else None
    return [_proof(files, window) for files in _chosen(settings, target)]


def _proof(files: DatasetStore, window: Span | None) -> DatasetProof:
    return DatasetProof(verify(files, window), *compare(files), tuple(files.warnings))


def _chosen(settings: Settings, target: Target) -> Iterator[DatasetStore]:
    store = store_of(settings)
    if target.named:
        found = [dataset] if (dataset := store.find(target.market, target.pair)) else []
    else:
        found = list(store.datasets())
    if not found:
        what = f"{target.market} {target.pair} is not" if target.named else "there is nothing"
        raise UsageError(f"{what} in {store.root}; run market-data backfill first")
    for dataset in found:
        yield store.open(dataset)


def repair(settings: Settings, proof: DatasetProof, *, on_start: OnStart, on_day: OnDay) -> list[BackfillReport]:
    """Collect again the days that were found bad, and rebuild the combined file if it is damaged; nothing else.

    A day that REST gave is asked of REST again, so that a whole chunk comes back to the byte.
    """
    dataset = proof.verification.dataset
    target = Target(dataset.market, dataset.pair, dataset.zone, named=True)
    entries = store_of(settings).open(dataset).entries
    reports = []
    for from_rest, days in _runs_of_days(proof.verification.bad_days, entries):
        whole = Span(days[0].start_ms, days[-1].end_ms)
        asked = intersect([whole], dataset.asked) or [whole]
        request = BackfillRequest(
            target, iso(asked[0].start_ms), iso(asked[-1].end_ms), align_window=False, refetch=True, strict_pair=True
        )
        chosen = settings.model_copy(update={"market_data_source": "rest"}) if from_rest else settings
        reports.append(backfill(chosen, request, on_start=on_start, on_day=on_day))
    if proof.combined is Agreement.DAMAGED:
        combine_dataset(settings, target, rebuild=True)
    return reports


def _runs_of_days(days: Sequence[Day], entries: Mapping[str, Entry]) -> Iterator[tuple[bool, list[Day]]]:
    """The days in groups without a day between, and whether REST alone gave those of the group."""

    def group(numbered: tuple[int, Day]) -> tuple[int, bool]:
        number, day = numbered
        return day.date.toordinal() - number, day.key in entries and entries[day.key].source == "rest"

    for (_, from_rest), grouped in groupby(enumerate(days), key=group):
        yield from_rest, [day for _, day in grouped]


def combine_dataset(
    settings: Settings,
    target: Target,
    *,
    tz: str | None = None,
    from_index: int | None = None,
    to_index: int | None = None,
    rebuild: bool = False,
) -> "runs.RunReport":
    """Bring a combined file up to date, in a Dagster run of this process.

    Raises:
        UsageError, StoreError: there is nothing to combine, or a chunk is damaged.
    """
    from market_data_pipeline import runs

    files = next(_chosen(settings, replace(target, named=True)))
    zone = parse_zone(tz) if tz else None
    select(files, zone=zone, from_index=from_index, to_index=to_index)  # an empty selection is said before any run
    config = {"tz": zone.name if zone else None, "from_index": from_index, "to_index": to_index, "rebuild": rebuild}
    with runs.open_instance(settings.home) as instance:
        return runs.run(instance, runs.tools_of(settings), files.dataset, ["combined"], config={"combined": config})


def statuses(settings: Settings, target: Target) -> list[DatasetStatus]:
    """What the store has, from its manifests alone."""
    return [status_of(files) for files in _chosen(settings, target)]
