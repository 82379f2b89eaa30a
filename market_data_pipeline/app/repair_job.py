"""The Dagster job `repair`: what `market-data verify --repair` does, for the UI and the API.

Belongs here: unpack the config, call the use cases, report. Does not belong here: mending (`mending`).
The days are collected in runs of their own, in this run's process, so they are recorded like those of any backfill.
"""

import dagster as dg
from pydantic import Field

from market_data_pipeline.app.repair import Mended, repair
from market_data_pipeline.app.targets import target_of
from market_data_pipeline.app.verify import DatasetProof, ProofRequest, verify_datasets
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import REPAIR_JOB, REPAIR_OP
from market_data_pipeline.settings import Settings


class RepairConfig(dg.Config):
    """Which dataset; all of the store if neither is given."""

    market: str | None = Field(default=None, description="spot or futures")
    pair: str | None = Field(default=None, description="BASE/QUOTE")


@dg.op(name=REPAIR_OP, description="Proves datasets, collects again what is wrong with them, and proves them again.")
def mend(context: dg.OpExecutionContext, config: RepairConfig) -> dg.Output[None]:
    """One line in the log for each bad day; fails if anything is still wrong at the end."""
    settings = Settings()
    log_to(settings.logs)
    request = ProofRequest(target_of(settings, config.market, config.pair))
    mended: list[Mended] = []
    for proof in verify_datasets(settings, request):
        if not proof.ok or proof.verification.strangers:
            for one in repair(settings, proof, on_start=_tell_nobody, on_day=_tell_nobody):
                context.log.info(f"{proof.verification.dataset.name} {one.what}: {one.before} → {one.after}")
                mended.append(one)
    wrong = [said for proof in verify_datasets(settings, request) if not proof.ok for said in _still_wrong(proof)]
    table = dg.MetadataValue.table(
        [dg.TableRecord({"what": one.what, "before": one.before, "after": one.after, "ok": one.ok}) for one in mended],
        schema=dg.TableSchema([dg.TableColumn(name) for name in ("what", "before", "after", "ok")]),
    )
    if wrong:
        raise dg.Failure(f"still wrong: {wrong[0]}{f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''}")
    return dg.Output(None, metadata={"mended": len(mended), "days": table})


@dg.job(
    name=REPAIR_JOB,
    executor_def=dg.in_process_executor,
    description="Proves datasets and collects again what is damaged or unexplained.",
)
def repair_job() -> None:
    """The op alone."""
    mend()


def _still_wrong(proof: DatasetProof) -> list[str]:
    name = proof.verification.dataset.name
    findings = [f"{name} {finding.day}: {finding.problem}" for finding in proof.verification.errors]
    return findings or [f"{name}: {proof.combined_problem or 'its combined file is damaged'}"]


def _tell_nobody(*_: object) -> None:
    """The runs of the days tell it."""
