"""The job `repair`, which is about what is stored.

Belongs here: reading the config, calling the use case, recording its results. Does not belong here: how a day is
repaired (`core.proof.repair`), the nightly proof (`proof.job`), many datasets (`bulk`).
https://docs.dagster.io/guides/build/jobs
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields

import dagster as dg
from pydantic import Field

from market_data_pipeline.core.errors import MarketDataError, UsageError
from market_data_pipeline.core.klines.dataset import parse_market
from market_data_pipeline.core.klines.pair import parse_pair, require_same, token_of
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.proof.prove import Proof, prove
from market_data_pipeline.core.proof.repair import Repaired, repair
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.status import status_of
from market_data_pipeline.core.text import first_text, problem_text, told_of
from market_data_pipeline.defs.assets import asset_key, record_combined
from market_data_pipeline.defs.metadata import manifest_event
from market_data_pipeline.defs.proof.results import evaluations_of
from market_data_pipeline.defs.recorder import DayRecorder
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import KLINES, REPAIR_JOB, REPAIR_OP


class RepairConfig(dg.Config):
    """Which datasets to repair: all of the store, those of a market, or those of pairs."""

    market: str | None = Field(default=None, description="spot or futures; both if unset")
    pair: str | None = Field(default=None, description="BASE/QUOTE or the exchange's symbol; all if unset")
    pairs: list[str] = Field(default=[], description="several, in place of pair")


@dg.op(name=REPAIR_OP, description="Proves datasets, loads bad days again, and proves them again.")
def repair_datasets(
    context: dg.OpExecutionContext, config: RepairConfig, tools: dg.ResourceParam[Tools]
) -> dg.Output[None]:
    """Repair the datasets, log one line for each bad day, and fail the run if a day is still bad at the end.

    Raises:
        dg.Failure: a day or file is still bad; the message names the first.
        MarketDataError, OSError: one could not be proved or repaired, while the others were.
    """
    log_to(tools.logs)
    repaired, failures = list[Repaired](), _Failures(context, tools.store)
    for proof in _proofs(config, tools, failures):
        if proof.needs_repair:
            with failures.apart(proof.verification.dataset.name):
                repaired += _repaired(context, proof, tools)
    if failures.first:
        raise failures.first
    if wrong := [f"{bad.what}: {bad.after}" for bad in repaired if not bad.ok]:
        raise dg.Failure(f"still wrong: {first_text(wrong)}")
    table = dg.MetadataValue.table(
        [dg.TableRecord(asdict(bad)) for bad in repaired],
        schema=dg.TableSchema([dg.TableColumn(field.name) for field in fields(Repaired)]),
    )
    return dg.Output(None, metadata={"mended": len(repaired), "days": table})


@dg.job(
    name=REPAIR_JOB,
    executor_def=dg.in_process_executor,
    description="Proves datasets and loads again what is damaged or unexplained.",
)
def repair_job() -> None:
    """Run `repair_datasets`."""
    repair_datasets()


@dataclass(slots=True)
class _Failures:
    """What kept datasets from being repaired: a warning for each, and the first error, for the end of the run."""

    context: dg.OpExecutionContext
    store: Store
    first: Exception | None = None

    @contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """Note the error of a dataset, so that the others are repaired. A bucket that is away is so for all: raised."""
        try:
            yield
        except (MarketDataError, OSError) as error:
            if self.store.is_away(error):
                raise
            self.first = self.first or error
            self.context.log.warning(f"not repaired: {told_of(name, problem_text(error))}")


def _proofs(config: RepairConfig, tools: Tools, failures: _Failures) -> Iterator[Proof]:
    """The caller's proofs if there are any, else a new proof of each dataset that the config selects.

    Raises:
        UsageError: the store has no such dataset.
    """
    if tools.caller.proofs is not None:
        yield from tools.caller.proofs
        return
    market = parse_market(config.market) if config.market else None
    pairs = {token_of(pair): pair for pair in map(parse_pair, [*config.pairs, *([config.pair] if config.pair else [])])}
    by_token = [(layout.owner_of(path)[-1], path) for path in tools.store.dataset_files(market)]
    selected = [(token, path) for token, path in by_token if not pairs or token in pairs]
    missing = [pair for token, pair in pairs.items() if token not in dict(selected)]
    if missing or not selected:
        raise UsageError(
            f"{tools.store.root} has no {market or ''} {missing[0] if missing else 'dataset'}; load it first"
        )
    for token, path in selected:
        proof: Proof | None = None
        with failures.apart("/".join(layout.owner_of(path))):
            dataset = tools.store.read(path)
            if pairs:
                require_same(pairs[token], dataset.pair)
            proof = prove(tools.open_dataset(dataset))
        if proof:
            yield proof


def _repaired(context: dg.OpExecutionContext, proof: Proof, tools: Tools) -> Iterator[Repaired]:
    """Repair one dataset. Record in Dagster the days that were loaded, the manifest, and the checks of a new proof."""
    dataset = proof.verification.dataset
    store, open_source = tools.open_dataset(dataset), tools.opener
    with DayRecorder(context, asset_key(dataset, KLINES), store.chunk_path) as recorder:

        def on_day(result: DayResult) -> None:
            recorder.note(result)
            tools.caller.on_day(result)

        for bad in repair(
            store,
            proof,
            lambda name: open_source(name)(dataset.market, dataset.pair),
            source=tools.source,
            on_load=tools.caller.on_load,
            on_day=on_day,
        ):
            context.log.info(f"{dataset.name} {bad.what}: {bad.before} → {bad.after}")
            tools.caller.on_repaired(dataset, bad)
            yield bad
    if tools.build_combined:
        record_combined(context, store)
    context.log_event(manifest_event(status_of(store), store.fingerprint()))
    for evaluation in evaluations_of(prove(store)):
        context.log_event(evaluation)  # type: ignore[arg-type]  # it accepts evaluations, which its type omits
