"""A Dagster project of a user with the component in it: scaffolded, checked, listed and run by `dg`."""

import json
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import dagster
import pytest

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.reader import open_dataset
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline_tests.dg import dg, needs_dg
from market_data_pipeline_tests.support import CHECKOUT, dataset_folder, simulated

COMPONENT = "market_data_pipeline.components.KlineDatasetsComponent"
is_installed = any(
    entry.value == "market_data_pipeline.components" for entry in entry_points(group="dagster_dg_cli.registry_modules")
)
pytestmark = [
    needs_dg,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not is_installed, reason="the entry point of the component is not installed"),
]

PAGE = (CHECKOUT / "docs" / "component.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {
    "pyproject.toml": """
[project]
name = "my-project"
version = "0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "my_project"
""",
    "src/my_project/__init__.py": "",
    "src/my_project/definitions.py": """
from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
""",
    "src/my_project/defs/__init__.py": "",
    "src/my_project/defs/own.py": "\n\n".join(EXAMPLES),
    # With names that this project has, too.
    "src/my_project/defs/clashing.py": """
import dagster as dg


@dg.op(required_resource_keys={"tools"})
def nothing() -> None: ...


@dg.job
def load() -> None:
    nothing()
""",
    "src/my_project/defs/resources.py": """
import dagster as dg


@dg.definitions
def resources() -> dg.Definitions:
    return dg.Definitions(resources={"tools": "of the user"})
""",
}


class Project:
    """A project in a folder, with a data root, a Dagster home and an exchange of its own."""

    def __init__(self, folder: Path, exchange_url: str) -> None:
        self.folder, self.data, self.home = folder / "project", folder / "data", folder / "dagster"
        for name, content in FILES.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(content, encoding="utf-8")
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
        self._variables = {
            "MARKET_DATA_DIR": str(self.data),
            "MARKET_DATA_EXCHANGE_URL": exchange_url,
            "DAGSTER_HOME": str(self.home),
        }

    def dg(self, *arguments: str) -> str:
        """What `dg` says; it must not fail."""
        done = dg(*arguments, project=self.folder, **self._variables)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """What `dg` says as it fails."""
        done = dg(*arguments, project=self.folder, **self._variables)
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr

    def write(self, component: str, content: str) -> None:
        """Write the `defs.yaml` of a component."""
        path = self.folder / "src" / "my_project" / "defs" / component / "defs.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def listed(self) -> dict[str, Any]:
        """The definitions by kind."""
        return dict(json.loads(self.dg("list", "defs", "--json")))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with simulated(SimulatedExchange(weights=False)) as running:
        yield Project(tmp_path, running.url)


def test_a_scaffolded_component_lives_beside_the_users_own_definitions(project: Project) -> None:
    assert COMPONENT in project.dg("list", "components", "--json")
    project.dg("scaffold", "defs", COMPONENT, "klines", "--market", "spot", "--pair", "BTC/USDT")
    more = f"type: {COMPONENT}\nattributes:\n  market: spot\n  pairs: [ETH/USDT]\n  live: true\n"
    project.write("more", f"{more}---\n{more.replace('spot', 'futures')}")
    project.dg("check", "yaml")
    assert "All definitions loaded successfully." in project.dg("check", "defs")

    listed = project.listed()
    sources = {"binance/rest", "binance/archive", "binanceusdm/rest", "binanceusdm/archive"}
    datasets = ("binance/BTCUSDT", "binance/ETHUSDT", "binanceusdm/ETHUSDT")
    klines = {f"{dataset}/{name}" for dataset in datasets for name in ("klines_1m", "manifest", "combined")}
    assert {asset["asset_key"] for asset in listed["assets"]} == klines | sources | {"volume"}
    assert {job["name"] for job in listed["jobs"]} == {"load", "klines_checks"}
    assert [schedule["name"] for schedule in listed["schedules"]] == ["nightly_checks"]
    assert {sensor["name"] for sensor in listed["sensors"]} == {"binance_live_more", "binanceusdm_live_more_1"}
    assert [resource["name"] for resource in listed["resources"]] == ["tools"]


def test_a_dataset_that_cannot_be_read_has_one_check_though_globs_of_two_components_may_mean_it(
    project: Project,
) -> None:
    damaged = dataset_folder(project.data, "spot", "ETHFIUSDT") / "dataset.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{", encoding="utf-8")
    for name, glob in (("klines", "ETH/*"), ("more", "ETHFI/*")):
        project.write(name, f'type: {COMPONENT}\nattributes:\n  market: spot\n  pairs: ["{glob}"]\n')
    checks = project.listed()["asset_checks"]
    assert [check["key"] for check in checks if "dataset_can_be_read" in check["key"]] == [
        "binance/ETHFIUSDT/klines_1m:dataset_can_be_read"
    ]


def test_a_day_is_loaded_with_the_executor_of_the_location(project: Project) -> None:
    attributes = 'market: spot\n  pairs: [BTC/USDT]\n  start: "2024-01-01"\n'
    project.write("klines", f"type: {COMPONENT}\nattributes:\n  {attributes}")
    chosen = 'key:"binance/BTCUSDT/klines_1m" or key:"binance/BTCUSDT/manifest" or key:volume'
    project.dg("launch", "--assets", chosen, "--partition", "2024-01-01")
    store = Store(project.data)
    dataset = store.find(Market.SPOT, "BTC/USDT")
    assert dataset is not None
    verified = verify(store.open(dataset))
    assert (verified.ok, verified.days) == (True, 1)
    with dagster.DagsterInstance.from_config(str(project.home)) as instance:
        [run] = instance.get_runs()
        assert run.status is dagster.DagsterRunStatus.SUCCESS
        key = dagster.AssetKey(["binance", "BTCUSDT", "klines_1m"])
        assert instance.get_materialized_partitions(key) == {"2024-01-01"}
        downstream = instance.get_latest_materialization_event(dagster.AssetKey("volume"))
        assert downstream is not None
        assert downstream.asset_materialization is not None
        total = float(open_dataset("BTC/USDT", market="spot", root=project.data).to_pandas()["volume"].sum())
        assert downstream.asset_materialization.metadata["volume"].value == pytest.approx(total)
        starting = instance.all_logs(run.run_id, of_type=dagster.DagsterEventType.STEP_WORKER_STARTING)
        assert len(starting) == 4, "the executor of the location starts a process for each step"


def test_what_is_wrong_in_the_yaml_is_said_in_a_line(project: Project) -> None:
    project.write("klines", f"type: {COMPONENT}\nattributes:\n  markt: spot\n  pairs: [BTC/USDT]\n")
    said = project.refused("check", "yaml")
    assert "defs.yaml:3" in said.replace("\\", "/")
    assert "'markt' was unexpected" in said

    project.write("klines", f"type: {COMPONENT}\nattributes:\n  pairs: [BTC/USDT]\n  zone: Europe/Zurych\n")
    lines = [line for line in project.refused("check", "defs").splitlines() if "Zurych" in line]
    # The page says how the line begins.
    assert lines == [
        "dagster._core.errors.DagsterInvalidDefinitionError: "
        "src/my_project/defs/klines: no such time zone: 'Europe/Zurych'; did you mean Europe/Zurich or Europe/Guernsey?"
    ]
