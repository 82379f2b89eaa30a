"""The job `report`: Dagster is told again of the stored days that it has forgotten, as the manifests list them.

Belongs here: reading the config, and recording. Does not belong here: what Dagster lacks (`comparing`), recording a day
(`defs.recorder`), its metadata (`defs.metadata`).
Nothing in the store is written, and nothing is asked of the exchange. So a day without a chunk, before a pair was
listed, is not told; the next load over it does that.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

import dagster as dg
from pydantic import Field

from market_data_pipeline.core.errors import StoreUnavailable
from market_data_pipeline.core.klines.dataset import parse_market
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.status import status_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import count_text, first_text, told_of
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.markets.choosing import ChosenConfig, chosen_pairs
from market_data_pipeline.defs.metadata import combined_event, manifest_event
from market_data_pipeline.defs.recorder import DayRecorder
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.defs.upkeep.comparing import Compared, compared
from market_data_pipeline.instance.events.batches import REFUSALS, refusal_text
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import KLINES, REPORT_JOB, REPORT_OP


class ReportConfig(ChosenConfig):
    """Which datasets of the store; all, or all of a market, if no pair and no universe is given."""

    market: str | None = Field(
        default=None,
        description="spot or futures; if unset, both, or of pairs that of the universe, or else MARKET_TYPE",
    )


@dg.op(name=REPORT_OP, description="Records the stored days that Dagster has forgotten. Changes no file.")
def report_datasets(
    context: dg.OpExecutionContext, config: ReportConfig, tools: dg.ResourceParam[Tools]
) -> dg.Output[None]:
    """Record what Dagster lacks. The run fails at its end if a dataset cannot be read; the others are recorded.

    Raises:
        dg.Failure: a dataset cannot be read; the message names the first.
        StoreUnavailable: Dagster's database takes no entry; what was recorded before stays.
    """
    log_to(tools.logs)
    failed: list[str] = []
    datasets = days = 0
    comparing = tools.caller.compared or compared(context.instance, tools.store, _dataset_files(config, tools))
    with closing(comparing):
        for found in comparing:
            if found.problem:
                failed.append(told_of(found.name, found.problem))
                context.log.warning(failed[-1])
            elif found.files and found.needs_run:
                with _refusal_named():
                    _record(context, found, found.files)
                datasets, days = datasets + 1, days + len(found.untold)
                context.log.info(f"{found.name}: {len(found.untold):,} of {count_text(found.days, 'day')} told again")
            tools.caller.on_compared(found)
    if failed:
        raise dg.Failure(f"failed: {first_text(failed)}", allow_retries=False)
    return dg.Output(None, metadata={"datasets": datasets, "days": days})


@dg.job(
    name=REPORT_JOB,
    executor_def=dg.in_process_executor,
    description="Tells Dagster of the stored days that it has forgotten, as the manifests list them.",
)
def report_job() -> None:
    """Run `report_datasets`."""
    report_datasets()


def _dataset_files(config: ReportConfig, tools: Tools) -> Iterable[StorePath]:
    """The `dataset.json` of each dataset that the config names, or of all.

    Raises:
        UsageError: a text cannot be parsed, or one of them is not stored.
    """
    if config.pairs or config.universe:
        return tools.store.files_of(*chosen_pairs(config, tools))
    return tools.store.dataset_files(parse_market(config.market) if config.market else None)


@contextmanager
def _refusal_named() -> Iterator[None]:
    """Turn the refusal of Dagster's database into one line, and into an error that may pass."""
    try:
        yield
    except REFUSALS as error:
        raise StoreUnavailable(
            f"Dagster's database takes no entry: {refusal_text(error)}; run market-data report again when it does"
        ) from error


def _record(context: dg.OpExecutionContext, found: Compared, files: DatasetStore) -> None:
    dataset = files.dataset
    with DayRecorder(context, asset_key(dataset, KLINES), files.chunk_path, again=False) as recorder:
        for entry in found.untold:
            recorder.note(DayResult(dataset.day(entry.day), Outcome.UNCHANGED, entry))
    if found.manifest:
        context.log_event(manifest_event(status_of(files), files.fingerprint()))
    if found.combined:
        context.log_event(combined_event(dataset, found.combined))
