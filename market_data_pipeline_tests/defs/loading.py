"""Helpers: runs on a data root, a Dagster instance and a simulated exchange, and what the runs recorded."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from market_data_pipeline.app.backfill import BackfillRequest, backfill
from market_data_pipeline.app.targets import Target
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import day_of, parse_zone
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.location import definitions_of
from market_data_pipeline.defs.resources import Tools, tools_of
from market_data_pipeline.instance import runs
from market_data_pipeline.instance.names import COMBINED, KLINES, MANIFEST
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline_tests.support import NOON, simulated

BTC = Dataset(Market.SPOT, "BTC/USDT", parse_zone("UTC"), date(2020, 1, 1))
NEAR = Dataset(Market.FUTURES, "NEAR/USDT", parse_zone("Europe/Zurich"), date(2020, 10, 15))
ALL = (KLINES, MANIFEST, COMBINED)


def settings_of(root: Path, exchange_url: str) -> Settings:
    return Settings(
        market_data_dir=root,
        market_data_exchange_url=exchange_url,
        dagster_home=root / "dagster",
        log_dir=root / "logs",
        align_tz="UTC",
        build_combined_on_backfill=False,
        market_data_source="rest",
    )


def load_today(settings: Settings, pair: str = "BTC/USDT", *, live: bool = True) -> Dataset:
    """Load today's klines of a futures pair so far, and mark its dataset live, or not live."""
    target = Target(Market.FUTURES, pair, parse_zone("UTC"), named=True)
    request = BackfillRequest(target, start=NOON.date().isoformat())
    report = backfill(settings, request, on_start=lambda *_: None, on_day=lambda _: None)
    assert report.ok
    files = tools_of(settings).store.open(report.dataset)
    files.mark_live(live)
    return files.dataset


@dataclass
class Loading:
    """Runs of the assets in this process. `tools` may be replaced between two runs."""

    instance: dg.DagsterInstance
    tools: Tools
    exchange: SimulatedExchange

    def run(
        self,
        dataset: Dataset,
        first: str | None = None,
        last: str | None = None,
        *,
        assets: Sequence[str] = ALL,
        **config: Any,
    ) -> runs.RunReport:
        """Materialize days (one if `last` is left out), with `config` for `klines_1m`."""
        days = (first, last or first) if first else None
        klines_config = {KLINES: config} if config else None
        return runs.run(
            self.instance, definitions_of([dataset], self.tools), dataset, assets, days=days, config=klines_config
        )

    def with_tools(self, **changes: Any) -> "Loading":
        return Loading(self.instance, replace(self.tools, **changes), self.exchange)

    def store(self, dataset: Dataset) -> DatasetStore:
        stored = self.tools.store.find(dataset.market, dataset.pair)
        assert stored is not None
        return self.tools.store.open(stored)

    def chunk(self, dataset: Dataset, day: str) -> Path:
        return self.store(dataset).chunk_path(dataset.day(day))

    def status(self, report: runs.RunReport) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(report.run_id)
        assert run is not None
        return run.status

    def materializations(self, report: runs.RunReport, dataset: Dataset, asset: str) -> list[dg.AssetMaterialization]:
        """The materializations of one asset in one run, in order."""
        recorded = self.instance.fetch_materializations(asset_key(dataset, asset), limit=1000, ascending=True).records
        events = [record.asset_materialization for record in recorded if record.run_id == report.run_id]
        return [event for event in events if event]

    def days(self, report: runs.RunReport, dataset: Dataset) -> list[str | None]:
        return [event.partition for event in self.materializations(report, dataset, KLINES)]

    def recorded_days(self, dataset: Dataset) -> set[str]:
        """Every day that the UI shows as materialized."""
        return self.instance.get_materialized_partitions(asset_key(dataset, KLINES))

    def checks(self, report: runs.RunReport) -> dict[str, dg.AssetCheckEvaluation]:
        """The evaluations of one run, by the check's name."""
        logs = self.instance.all_logs(report.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        evaluations = [entry.get_dagster_event().asset_check_evaluation_data for entry in logs]
        return {evaluation.check_name: evaluation for evaluation in evaluations}

    def checks_alone(self, dataset: Dataset) -> dict[str, dg.AssetCheckEvaluation]:
        """Evaluate every check of the dataset without materializing anything, as a button of the UI does."""
        job = dg.define_asset_job("checks_alone", dg.AssetSelection.all_asset_checks())
        definitions = dg.Definitions.merge(definitions_of([dataset], self.tools), dg.Definitions(jobs=[job]))
        result = definitions.resolve_job_def("checks_alone").execute_in_process(instance=self.instance)
        return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}

    def failure(self, report: runs.RunReport) -> dict[str, Any]:
        """The metadata of the one step that failed."""
        (entry,) = self.instance.all_logs(report.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        failure = entry.get_dagster_event().step_failure_data.user_failure_data
        return dict(failure.metadata)

    def requests(self) -> int:
        stats = self.exchange.stats()
        return stats["spot"]["endpoints"].get("klines", 0) + stats["futures"]["endpoints"].get("klines", 0)


def values(metadata: Any) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


@contextmanager
def loading(settings: Settings, exchange: SimulatedExchange) -> Iterator[Loading]:
    with runs.open_instance(settings.home) as instance:
        yield Loading(instance, tools_of(settings), exchange)


@contextmanager
def beside_an_exchange(root: Path) -> Iterator[Loading]:
    """Runs on a data root, beside an exchange of their own. The handlers of `loader.log` are restored afterwards."""
    logger = logging.getLogger("market_data_pipeline")
    before = list(logger.handlers)
    with (
        simulated(SimulatedExchange(weights=False)) as running,
        loading(settings_of(root, running.url), running.exchange) as set_up,
    ):
        yield set_up
    for handler in set(logger.handlers) - set(before):
        for each in (logger, logging.getLogger("sqlalchemy.pool")):
            each.removeHandler(handler)
        handler.close()


@contextmanager
def copied(stored: Path, root: Path) -> Iterator[Loading]:
    """Runs on a copy of a data root, which takes less than to load it anew."""
    shutil.copytree(stored, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("logs"))
    with beside_an_exchange(root) as set_up:
        yield set_up


def local(dataset: Dataset, day: str, start: str, end: str) -> Span:
    """The minutes from `HH:MM` to `HH:MM` local time of a day that has 24 hours."""
    midnight_ms = day_of(dataset.zone, date.fromisoformat(day)).start_ms
    return Span(midnight_ms + _ms(start), midnight_ms + _ms(end))


def _ms(clock: str) -> int:
    hours, minutes = clock.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000
