"""Repair: load again what a proof found wrong, in a Dagster run of this process.

Belongs here: the run that repairs what a proof found. Does not belong here: repairing (`core.proof.repair`), printing.
"""

from collections.abc import Callable
from dataclasses import replace

from market_data_pipeline.app.backfill import OnDay, OnStart
from market_data_pipeline.core.errors import MarketDataError, Unavailable
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.loading.plan import Load
from market_data_pipeline.core.proof.prove import Proof
from market_data_pipeline.core.proof.repair import Repaired
from market_data_pipeline.instance.names import DATASET_TAG, REPAIR_JOB, REPAIR_OP, dataset_tag
from market_data_pipeline.settings import Settings


def repair(
    settings: Settings,
    proof: Proof,
    *,
    on_start: OnStart,
    on_day: OnDay,
    on_repaired: Callable[[Dataset, Repaired], None],
) -> None:
    """Repair the dataset of a proof.

    Args:
        settings: the settings.
        proof: what is wrong.
        on_start: called with the dataset, the number of days and the source before each load.
        on_day: called with each day's result.
        on_repaired: called with the dataset and with each bad day or file after its repair.

    Raises:
        Unavailable: the run ended before its end, because of the exchange, the network or the disk.
        MarketDataError: the run ended before its end, or failed without a word of what is still bad.
    """
    from market_data_pipeline.defs.location import jobs_of
    from market_data_pipeline.defs.resources import Caller, tools_of
    from market_data_pipeline.instance import runs

    dataset, repaired = proof.verification.dataset, list[Repaired]()

    def note(of_dataset: Dataset, result: Repaired) -> None:
        repaired.append(result)
        on_repaired(of_dataset, result)

    def on_load(load: Load) -> None:
        on_start(load.store.dataset, len(load.tasks), load.source)

    caller = Caller(proofs=[proof], on_load=on_load, on_day=on_day, on_repaired=note)
    tools = replace(tools_of(settings), caller=caller)
    with runs.open_instance(settings.home) as instance:
        report = runs.run_op(
            instance,
            jobs_of(tools),
            REPAIR_JOB,
            REPAIR_OP,
            config={"market": dataset.market.value, "pair": dataset.pair},
            tags={DATASET_TAG: dataset_tag(dataset)},
        )
    if error := report.error_beside(repaired):
        raise (Unavailable if report.may_pass else MarketDataError)(error)
