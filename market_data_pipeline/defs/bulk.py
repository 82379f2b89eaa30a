"""The job `load`: many datasets in one run, which records the days of each.

Belongs here: reading the config, calling `core.bulk`, recording what it tells. Does not belong here: loading
(`core.bulk`), the metadata (`metadata`), the jobs about what is stored (`jobs`).
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from functools import partial

import dagster as dg
from pydantic import Field

from market_data_pipeline.core.bulk.load import Begun, Ended, Message, Work, load_many
from market_data_pipeline.core.catalog.catalog import traded_pairs
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import parse_instant, parse_zone
from market_data_pipeline.core.klines.patterns import Among, parse_patterns
from market_data_pipeline.core.loading.day import MOST_ROW_GROUP_ROWS, DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.core.loading.summary import Summary
from market_data_pipeline.core.sources.protocol import Usage
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.universes import find_universe
from market_data_pipeline.core.text import first_text, told_of
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.markets.choosing import ChosenConfig, chosen_market
from market_data_pipeline.defs.markets.pairs import catalog_of
from market_data_pipeline.defs.metadata import combined_event, manifest_event
from market_data_pipeline.defs.proof.results import evaluations_of
from market_data_pipeline.defs.recorder import AFTER_REFUSAL_S, MOST_KEPT, DayRecorder
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.events.batches import REFUSALS, refusal_text
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import KLINES, LOAD_JOB, LOAD_OP
from market_data_pipeline.instance.runs import recorded_days

_log = logging.getLogger(__name__)


class LoadConfig(ChosenConfig):
    """Which datasets to load, and which minutes of each; they need not be stored yet."""

    start: str | None = Field(
        default=None,
        description="first minute, a date or an ISO time; that of the universe, or else 2020-01-01T01:00Z, if unset",
    )
    end: str | None = Field(default=None, description="first minute after the window; now if unset")
    tz: str | None = Field(
        default=None,
        description="the zone of datasets that are created now; that of the universe, or else ALIGN_TZ, if unset",
    )
    align_window: bool = Field(default=True, description="load whole days, or only the minutes of the window")
    source: str | None = Field(
        default=None, description="auto, rest or archive; that of the universe, or else MARKET_DATA_SOURCE, if unset"
    )
    refetch: bool = Field(default=False, description="request stored klines from the source again")
    chunk_size: int | None = Field(
        default=None, ge=1, le=MOST_ROW_GROUP_ROWS, description="rows per Parquet row group; a whole day if unset"
    )
    in_catalog: bool = Field(
        default=False, description="the pairs and the window were chosen by the catalog of the market"
    )


@dg.op(name=LOAD_OP, description="Loads datasets, several at once, and records the days of each.")
def load_datasets(context: dg.OpExecutionContext, config: LoadConfig, tools: dg.ResourceParam[Tools]) -> None:
    """Load the datasets. The run fails at its end if a dataset or a day failed; the others are loaded and recorded.

    Raises:
        dg.Failure: a dataset or a day failed; the message names the first.
    """
    log_to(tools.logs)
    messages = tools.caller.messages or _begun(config, tools, context.log.warning)
    recorders: dict[WindowRequest, _Recorder] = {}
    failed: list[str] = []
    done, ended = Summary(), _Untold()
    try:
        with closing(messages):
            for request, message in messages:
                if request not in recorders:
                    recorders[request] = _Recorder(context, tools, again=config.refetch)
                if isinstance(message, DayResult):
                    done.note(message)
                if problem := recorders[request].note(message):
                    day = f" {message.day.key}" if isinstance(message, DayResult) else ""
                    failed.append(told_of(f"{request.name}{day}", problem))
                    context.log.warning(failed[-1])
                if isinstance(message, Ended):
                    ended.add(recorders.pop(request))  # memory must not grow with the number of pairs
                ended.tell()
    finally:
        # Also after a BaseException, which Dagster raises in a run that is cancelled.
        for recorder in recorders.values():
            ended.add(recorder)
        ended.tell_all()
    context.log.info(done.text())
    if failed:
        raise dg.Failure(f"failed: {first_text(failed)}", allow_retries=False)


@dg.job(
    name=LOAD_JOB,
    executor_def=dg.in_process_executor,
    description="Loads many datasets in one run: a window of each pair that the config names, by name or glob.",
)
def load_job() -> None:
    """Run `load_datasets`."""
    load_datasets()


class _Recorder:
    """Records in Dagster what is told about one dataset: its days, its manifest, and the checks of its new days."""

    def __init__(self, context: dg.OpExecutionContext, tools: Tools, *, again: bool) -> None:
        self._context, self._tools, self._again = context, tools, again
        self._dataset: Dataset | None = None
        self._days: DayRecorder | None = None
        self._recorded: set[str] = set()
        self._ended: Ended | None = None

    def note(self, message: Message) -> str | None:
        """Record a message; return what failed, if anything did."""
        match message:
            case Begun(dataset=dataset):
                # To open the dataset would be to read each chunk that the manifest does not list yet.
                folder = self._tools.store.folder(dataset.market, dataset.pair)
                self._dataset = dataset
                with suppress(*REFUSALS):  # each day is compared with what Dagster has when it is recorded, too
                    self._recorded = recorded_days(self._context.instance, dataset)
                path_of = partial(layout.chunk_path, folder, dataset)
                self._days = DayRecorder(self._context, asset_key(dataset, KLINES), path_of, again=self._again)
            case DayResult(outcome=outcome):
                if self._days and not (outcome is not Outcome.LOADED and message.day.key in self._recorded):
                    self._days.note(message)
                return message.error if outcome is Outcome.FAILED else None
            case Ended():
                self._ended = message
                return message.error
            case Usage():
                pass
        return None

    @property
    def days_left(self) -> int:
        """How many days are to be recorded."""
        return self._days.left if self._days else 0

    def close(self) -> None:
        """Record what is left of a dataset that has ended; may be called again.

        Raises:
            REFUSALS: Dagster takes nothing now.
        """
        if self._days:
            self._days.close()
        if self._ended:
            self._end(self._ended)

    def _end(self, ended: Ended) -> None:
        if not (self._dataset and ended.status):
            for warning in ended.warnings:  # why a run that ends well has loaded nothing
                self._context.log.info(warning)
            return
        if ended.combined:
            self._context.log_event(combined_event(self._dataset, ended.combined))
        if ended.proof is None:
            return
        self._context.log_event(manifest_event(ended.status, ended.fingerprint))
        for evaluation in evaluations_of(ended.proof):
            self._context.log_event(evaluation)  # type: ignore[arg-type]  # it accepts evaluations, which its type omits


class _Untold:
    """Datasets that have ended and are not recorded yet. One waits only while the database of Dagster is away."""

    def __init__(self) -> None:
        self._left: deque[_Recorder] = deque()
        self._due_s = 0.0

    def add(self, recorder: _Recorder) -> None:
        """Add a dataset. Where too many days wait, the first ones are left to the next load, which asks for them."""
        self._left.append(recorder)
        while len(self._left) > 1 and sum(each.days_left for each in self._left) > MOST_KEPT:
            _log.warning("Dagster did not record %d days of a dataset that has ended", self._left.popleft().days_left)

    def tell(self) -> None:
        """Record them, unless Dagster took nothing a moment ago."""
        if not self._left or time.monotonic() < self._due_s:
            return
        try:
            self.tell_all()
        except REFUSALS as error:
            # Each try waits for seconds, and the load with it.
            self._due_s = time.monotonic() + AFTER_REFUSAL_S
            _log.warning("%d datasets are recorded later: %s", len(self._left), refusal_text(error))

    def tell_all(self) -> None:
        """Record them.

        Raises:
            REFUSALS: Dagster takes nothing now.
        """
        while self._left:
            self._left[0].close()
            self._left.popleft()


def _begun(
    config: LoadConfig, tools: Tools, on_warning: Callable[[str], object]
) -> Generator[tuple[WindowRequest, Message]]:
    """The load of a run that the UI or the API started.

    Raises:
        UsageError: a text cannot be parsed, no pair is given, or a glob matches nothing.
    """
    found = find_universe(tools.store.root, config.universe) if config.universe else None
    market = chosen_market(config, found, tools)
    zone_name = config.tz or (found.zone if found else None)
    zone = parse_zone(zone_name) if zone_name else tools.zone
    start, source = config.start or (found.start if found else None), config.source or (found.source if found else None)
    start_ms = parse_instant(start, zone) if start else None
    end_ms = parse_instant(config.end, zone) if config.end else None
    words = [*(found.pairs if found else ()), *config.pairs]
    if not words:
        raise UsageError("the run config names no pairs; give pairs, for example ['BTC/USDT', 'ETH/USDT']")
    patterns = parse_patterns(words, has_contracts=market.has_contracts)
    pairs: list[str] = []
    if patterns.needs_candidates:
        pairs = traded_pairs(catalog_of(tools, market, on_warning=on_warning).pairs, zone, start_ms, end_ms)
    requests = [
        WindowRequest(
            market,
            pair,
            zone,
            start_ms,
            end_ms,
            align=config.align_window,
            strict=True,
            in_catalog=config.in_catalog or pair in pairs,
        )
        for pair in patterns.choose(pairs, Among.TRADED)
    ]
    log = partial(log_to, tools.logs)
    work = Work(tools.store, tools.opener(source), log, config.refetch, config.chunk_size, tools.build_combined)
    return load_many(requests, work)
