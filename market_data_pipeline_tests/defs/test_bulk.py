"""The job `load` as the UI starts it: what its config leaves out is that of the universe, or of the settings."""

import logging
from datetime import timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.defs.location import jobs_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.instance import runs
from market_data_pipeline.instance.names import COMBINE_JOB, COMBINE_OP, LOAD_JOB, LOAD_OP
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.defs.loading import settings_of
from market_data_pipeline_tests.support import NOON, Simulate

DAY = (NOON - timedelta(days=3)).date().isoformat()
WINDOW = {"start": DAY, "end": (NOON - timedelta(days=2)).date().isoformat()}
UNIVERSES = """
[universe.zoned]
market = "futures"
pairs = ["ETH/USDT"]
zone = "+05:30"

[universe.zoneless]
market = "futures"
pairs = ["ETH/USDT"]
"""


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"pairs": ["ETH/USDT"]}, (Market.SPOT, "Asia/Tokyo")),
        ({"pairs": ["ETH/USDT"], "market": "futures", "tz": "UTC"}, (Market.FUTURES, "UTC")),
        ({"universe": "zoned"}, (Market.FUTURES, "+05:30")),
        ({"universe": "zoneless"}, (Market.FUTURES, "Asia/Tokyo")),
    ],
)
def test_what_the_config_leaves_out_is_that_of_the_universe_or_of_the_settings(
    tmp_path: Path, simulate: Simulate, config: dict[str, object], found: tuple[Market, str]
) -> None:
    settings = settings_of(tmp_path, simulate().url).model_copy(
        update={"market_type": "spot", "align_tz": "Asia/Tokyo"}
    )
    tools = tools_of(settings)
    (tmp_path / "market-data.toml").write_text(UNIVERSES, encoding="utf-8")
    with runs.open_instance(tmp_path / "dagster") as instance:
        ended = run(instance, settings, LOAD_JOB, LOAD_OP, config | WINDOW)
    assert ended.success, ended.error
    [dataset] = [tools.store.read(path) for path in tools.store.dataset_files()]
    assert (dataset.market, dataset.zone.name) == found


def run(instance: DagsterInstance, settings: Settings, job: str, op: str, config: dict[str, object]) -> runs.RunReport:
    return runs.run_op(instance, jobs_of(tools_of(settings)), job, op, config=config, tags={})


def test_pairs_that_a_catalog_may_lack_are_a_warning_of_the_run(tmp_path: Path, simulate: Simulate) -> None:
    running = simulate()
    running.exchange.hooks.append(lambda request: "403" if request.area == "listing" else None)
    with runs.open_instance(tmp_path / "dagster") as instance:
        ended = run(instance, settings_of(tmp_path, running.url), LOAD_JOB, LOAD_OP, {"pairs": ["ETH/*"]} | WINDOW)
        logged = [entry for entry in instance.all_logs(ended.run_id) if entry.level == logging.WARNING]
    assert ended.success, ended.error
    assert ["the archive cannot be listed" in entry.user_message for entry in logged] == [True]


@pytest.mark.parametrize(("job", "op"), [(LOAD_JOB, LOAD_OP), (COMBINE_JOB, COMBINE_OP)])
def test_the_market_of_a_universe_is_not_replaced(tmp_path: Path, simulate: Simulate, job: str, op: str) -> None:
    (tmp_path / "market-data.toml").write_text(UNIVERSES, encoding="utf-8")
    settings = settings_of(tmp_path, simulate().url)
    with runs.open_instance(tmp_path / "dagster") as instance:
        ended = run(instance, settings, job, op, {"universe": "zoned", "market": "spot"})
    assert not ended.success
    assert "the universe zoned is one of futures; leave out market" in str(ended.error)
