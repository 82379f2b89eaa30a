"""The job `combine`: the combined files of many datasets in one run.

Belongs here: reading the config, and recording each file and its check. Does not belong here: which datasets it names
(`choosing`), writing a file (`core.store.combined`), the asset of one dataset (`defs.assets`).
"""

import dagster as dg
from pydantic import Field

from market_data_pipeline.core.errors import PASSING, MarketDataError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.combined import Combined, combine, require_order
from market_data_pipeline.core.text import first_text, refusal_of_disk, told_of
from market_data_pipeline.defs.markets.choosing import ChosenConfig, chosen_datasets
from market_data_pipeline.defs.metadata import combined_event
from market_data_pipeline.defs.proof.results import combined_evaluation
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import COMBINE_JOB, COMBINE_OP


class CombineConfig(ChosenConfig):
    """Which datasets of the store to combine, and which klines of each."""

    tz: str | None = Field(default=None, description="keep only whole days of this zone; all klines if unset")
    from_index: int | None = Field(default=None, description="index of the first chunk")
    to_index: int | None = Field(default=None, description="index of the last chunk, included")


@dg.op(name=COMBINE_OP, description="Writes the combined file of each dataset whose chunks have changed.")
def combine_datasets(context: dg.OpExecutionContext, config: CombineConfig, tools: dg.ResourceParam[Tools]) -> None:
    """Combine the datasets. The run fails at its end if one could not be combined; the others are.

    Raises:
        UsageError: the first index is behind the last.
        dg.Failure: a dataset could not be combined; the message names the first.
    """
    log_to(tools.logs)
    require_order(config.from_index, config.to_index)
    failed: list[str] = []
    datasets = tools.caller.datasets
    for dataset in chosen_datasets(config, tools) if datasets is None else datasets:
        combined, problem, may_pass = None, "", True
        try:
            combined = _combined(dataset, config, tools)
            evaluation = combined_evaluation(tools.open_dataset(dataset))
            problem = "" if evaluation.passed else evaluation.description or "the check failed"
        except (MarketDataError, OSError) as error:
            problem = refusal_of_disk(error) if isinstance(error, OSError) else " ".join(str(error).split())
            may_pass = isinstance(error, PASSING)
        else:
            context.log_event(combined_event(dataset, combined))
            context.log_event(evaluation)  # type: ignore[arg-type]  # it accepts evaluations, which its type omits
            may_pass = not problem
        if problem:
            failed.append(told_of(dataset.name, problem))
            context.log.warning(failed[-1])
        tools.caller.on_combined(dataset, combined, problem, may_pass)
    if failed:
        raise dg.Failure(f"failed: {first_text(failed)}", allow_retries=False)


@dg.job(
    name=COMBINE_JOB,
    executor_def=dg.in_process_executor,
    description="Writes the combined files of many datasets in one run.",
)
def combine_job() -> None:
    """Run `combine_datasets`."""
    combine_datasets()


def _combined(dataset: Dataset, config: CombineConfig, tools: Tools) -> Combined:
    store = tools.open_dataset(dataset)
    zone = parse_zone(config.tz) if config.tz else None
    return combine(store, zone=zone, from_index=config.from_index, to_index=config.to_index)
