"""Materialize some days through the code location of workspace.yaml, on a simulated exchange; fail if any check does.

    python -m market_data_pipeline_tests.ci_materialize [FOLDER]

FOLDER keeps the data root and the Dagster instance; without it they are temporary.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster._grpc.server import LoadedRepositories

from market_data_pipeline.instance import runs
from market_data_pipeline.instance.names import range_tags
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve

WORKSPACE = Path(__file__).parents[1] / "workspace.yaml"
ROW_COUNTS = {"dagster/partition_row_count", "dagster/row_count"}
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


@dataclass(frozen=True)
class Load:
    """Days, both included, of the dataset that the settings make the default one, and the rows they have."""

    market: str
    pair: str
    zone: str
    first: str
    last: str
    rows: int

    @property
    def name(self) -> str:
        return f"{self.market} {self.pair}"


# On the middle day of each: 284 minutes that the exchange was down, and 25 hours.
LOADS = (
    Load("spot", "BTC/USDT", "UTC", "2021-04-24", "2021-04-26", 1440 + 1156 + 1440),
    Load("futures", "NEAR/USDT", "Europe/Zurich", "2023-10-28", "2023-10-30", 1440 + 1500 + 1440),
)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def code_location() -> dg.RepositoryDefinition:
    """What a code server of Dagster would serve, found by Dagster's own readers of the workspace file."""
    (origin,) = location_origins_from_yaml_paths([str(WORKSPACE)])
    loaded = LoadedRepositories(origin.loadable_target_origin, None, [], None)  # type: ignore[attr-defined]
    (repository,) = loaded.definitions_by_name.values()
    return repository


def materialize(instance: dg.DagsterInstance, load: Load) -> Iterator[str]:
    """Materialize every asset of one dataset in one run, print a table of it, and say what is not as it should be."""
    repository = code_location()
    graph = repository.asset_graph
    keys = [key for key in graph.toposorted_asset_keys if graph.get(key).metadata.get("pair") == load.pair]
    result = repository.get_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=keys,
        tags=range_tags(load.first, load.last),
        run_config=QUIET,
        raise_on_error=False,
    )
    if not result.success:
        yield f"the run of {load.name} failed"
    # The result of a run has no events of days; they are stored as the days finish.
    logs = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    stored = [entry.asset_materialization for entry in logs if entry.asset_materialization]
    for key in keys:
        yield from row(key, load, [one for one in stored if one.asset_key == key], result)


def row(
    key: dg.AssetKey, load: Load, made: list[dg.AssetMaterialization], result: dg.ExecuteInProcessResult
) -> Iterator[str]:
    """Print one line about an asset."""
    checks = [check for check in result.get_asset_check_evaluations() if check.asset_key == key]
    rows = sum(said.value for one in made for name, said in one.metadata.items() if name in ROW_COUNTS)
    days = sum(one.partition is not None for one in made)
    marks = "  ".join(f"{check.check_name} {'ok' if check.passed else 'FAILED'}" for check in checks)
    print(f"{key.to_user_string():<32} {days or '':>4} {rows:>6}  {marks or 'NOT CHECKED'}")
    if rows != load.rows:
        yield f"{key.to_user_string()} has {rows} rows, not {load.rows}"
    if not checks:
        yield f"{key.to_user_string()} was not checked"
    for check in checks:
        if not check.passed:
            yield f"{check.check_name} of {key.to_user_string()} failed: {check.description}"


def main(arguments: list[str]) -> int:
    """Run every load; 0 if all is good, else 1."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary, serve(SimulatedExchange()) as simulated:
        root = Path(arguments[0] if arguments else temporary).absolute()
        fixed = {
            "MARKET_DATA_DIR": str(root),
            "MARKET_DATA_EXCHANGE_URL": simulated.url,
            "MARKET_DATA_SOURCE": "rest",
            "LOG_DIR": str(root / "logs"),
            "DAGSTER_HOME": str(root / "dagster"),
        }
        problems = []
        print(f"{'asset':<32} {'days':>4} {'rows':>6}  checks")
        with environment(**fixed), runs.open_instance(root / "dagster") as instance:
            for load in LOADS:
                with environment(MARKET_TYPE=load.market, SYMBOL=load.pair, ALIGN_TZ=load.zone):
                    problems += materialize(instance, load)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
