"""The job `proof`: all checks of all datasets in one step, each night.

Belongs here: which datasets are proved, and recording what was found. Does not belong here: what is read of each
(`core.proof.rolling`), the processes (`core.bulk.prove`), results (`results`), when the job runs (`defs.schedules`).
"""

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from pydantic import Field

from market_data_pipeline.core.bulk.prove import Broken, NightWork, prove_many
from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset, parse_market
from market_data_pipeline.core.klines.findings import MATCHES_MANIFEST
from market_data_pipeline.core.proof.rolling import Night, Rolled
from market_data_pipeline.core.store.layout import owner_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import first_text
from market_data_pipeline.defs.checks import REQUESTING
from market_data_pipeline.defs.metadata import findings_table
from market_data_pipeline.defs.partitions import refusal_of
from market_data_pipeline.defs.proof.results import (
    MOST_FINDINGS,
    evaluation_of,
    evaluations_of_night,
    failed_evaluation,
)
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.events.recorded import last_checks
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import (
    CAN_BE_READ,
    KLINES,
    MANIFEST,
    PROOF_JOB,
    PROOF_OP,
    asset_path,
    asset_path_of_folder,
)

_log = logging.getLogger(__name__)


class ProofConfig(dg.Config):
    """What is proved, and how much of it is read."""

    market: str | None = Field(default=None, description="spot or futures; both if unset")
    whole: bool = Field(default=False, description="read every chunk now, however long that takes")


@dataclass(slots=True)
class _Tally:
    """What a run has done so far."""

    datasets: list[Dataset] = field(default_factory=list)
    days: int = 0
    read: int = 0
    not_reached: int = 0
    combined_not_reached: int = 0
    not_compared: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def note(self, rolled: Rolled) -> None:
        """Count a dataset."""
        self.datasets.append(rolled.verification.dataset)
        self.days += rolled.verification.days
        self.read += rolled.read
        self.not_reached += rolled.not_reached
        self.combined_not_reached += rolled.combined is None

    def metadata(self) -> dict[str, dg.MetadataValue]:
        """What the page of the run shows."""
        counts = {
            "datasets": len(self.datasets),
            "days": self.days,
            "days_read": self.read,
            "days_not_reached": self.not_reached,
            "combined_files_not_reached": self.combined_not_reached,
            "datasets_not_compared": self.not_compared,
            "datasets_without_a_proof": len(self.broken),
        }
        shown: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.int(count) for name, count in counts.items()}
        return shown | ({"without_a_proof": findings_table(self.broken[:MOST_FINDINGS])} if self.broken else {})


@dg.op(name=PROOF_OP, description="Proves datasets one after the other, and records the results of all their checks.")
def prove_datasets(
    context: dg.OpExecutionContext, config: ProofConfig, tools: dg.ResourceParam[Tools]
) -> dg.Output[None]:
    """Prove all datasets of the store or a market. What is wrong with one is a failed check of it, and hides no other.

    Raises:
        dg.Failure: something could not be evaluated that should have been; the message names the first.
    """
    log_to(tools.logs)
    night, tally = tools.turns.begin(whole=config.whole), _Tally()
    record = partial(_record, context)
    paths = tools.store.dataset_files(parse_market(config.market) if config.market else None)
    was_unreadable = _unreadable_before(context.instance, paths)
    usable = []
    for path in paths:
        problem = _problem_of(tools, path)
        if problem:
            tally.broken.append(("/".join(owner_of(path)), problem))
            record(failed_evaluation(_key(path, KLINES), CAN_BE_READ, problem))
            # Dagster may have loaded the dataset before it was damaged, and shows its checks then, not that one.
            record(failed_evaluation(_key(path, MANIFEST), MATCHES_MANIFEST, problem))
        else:
            usable.append(path)
            if path in was_unreadable:
                record(_readable_again(path))
    with closing(prove_many(usable, NightWork(tools.store, night, partial(log_to, tools.logs)))) as found:
        for path, proved in found:
            if isinstance(proved, Rolled):
                tally.note(proved)
                for evaluation in evaluations_of_night(proved):
                    record(evaluation)
            else:
                _note_broken(tally, path, proved)
                record(failed_evaluation(_key(path, MANIFEST), MATCHES_MANIFEST, proved.reason))
    for evaluation in _compared(tally, tools, night):
        record(evaluation)
    if tally.faults:
        raise dg.Failure(first_text(tally.faults), metadata=tally.metadata(), allow_retries=False)
    return dg.Output(None, metadata=tally.metadata())


@dg.job(
    name=PROOF_JOB,
    executor_def=dg.in_process_executor,
    description="Evaluates all checks of all datasets. Chunks that are new are read, the others in turns.",
)
def proof_job() -> None:
    """Run `prove_datasets`."""
    prove_datasets()


def _record(context: dg.OpExecutionContext, evaluation: dg.AssetCheckEvaluation) -> None:
    context.log_event(evaluation)  # type: ignore[arg-type]  # it accepts evaluations, which its type omits


def _key(path: StorePath, asset: str) -> list[str]:
    """The key of an asset of the dataset with this `dataset.json`."""
    exchange_id, token = owner_of(path)
    return asset_path_of_folder(exchange_id, token, asset)


def _problem_of(tools: Tools, path: StorePath) -> str:
    """Why the dataset of this `dataset.json` has no definitions, empty if it has."""
    try:
        return refusal_of(tools.store.read(path))
    except StoreError as error:
        return str(error)


def _unreadable_before(instance: dg.DagsterInstance, paths: Sequence[StorePath]) -> set[StorePath]:
    """The files of which the last evaluation says that they cannot be used."""
    keys = {path: dg.AssetCheckKey(dg.AssetKey(_key(path, KLINES)), CAN_BE_READ) for path in paths}
    last = last_checks(instance, list(keys.values()))
    failed = {key for key, record in last if record.status is AssetCheckExecutionRecordStatus.FAILED}
    return {path for path, key in keys.items() if key in failed}


def _readable_again(path: StorePath) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(_key(path, KLINES)), check_name=CAN_BE_READ, passed=True, description=f"{path} is usable"
    )


def _note_broken(tally: _Tally, path: StorePath, broken: Broken) -> None:
    name = "/".join(owner_of(path))
    tally.broken.append((name, broken.reason))
    if broken.is_fault:
        tally.faults.append(f"{name} cannot be proved: {broken.reason}")


def _compared(tally: _Tally, tools: Tools, night: Night) -> Iterator[dg.AssetCheckEvaluation]:
    """The results of the checks that send requests, in another order each night, as there may not be time for all."""
    datasets = list(tally.datasets)
    random.Random(f"{datetime.fromtimestamp(night.began_s, UTC):%Y-%m-%d}").shuffle(datasets)
    for dataset in datasets:
        if not night.has_time():
            tally.not_compared += 1
            continue
        for name, evaluate in REQUESTING.items():
            try:
                yield from map(evaluation_of, evaluate(dataset, tools))
            except Exception as error:  # one dataset must not hide the others
                problem = " ".join(f"{type(error).__name__}: {error}".split())
                _log.exception("%s %s", dataset.name, name)
                tally.faults.append(f"{name} of {dataset.name} cannot be evaluated: {problem}")
                yield failed_evaluation(asset_path(dataset, KLINES), name, problem)
