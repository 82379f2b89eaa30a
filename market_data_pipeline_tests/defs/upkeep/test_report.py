"""The job `report`: what Dagster has forgotten, lost or never known of the store is in a new home again."""

import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.location import jobs_of
from market_data_pipeline.defs.metadata import day_metadata
from market_data_pipeline.defs.resources import Caller
from market_data_pipeline.defs.upkeep.comparing import Compared, compared
from market_data_pipeline.instance import runs
from market_data_pipeline.instance.names import COMBINE_JOB, COMBINE_OP, REPAIR_JOB, REPAIR_OP, REPORT_JOB, REPORT_OP
from market_data_pipeline_tests.defs.loading import (
    ALL,
    BTC,
    KLINES,
    MANIFEST,
    NEAR,
    Loading,
    beside_an_exchange,
    copied,
    values,
)
from market_data_pipeline_tests.instance.storages import Postgres
from market_data_pipeline_tests.support import everything, flip_a_byte

NewHome = Callable[[], AbstractContextManager[Loading]]
DAYS = ["2021-04-24", "2021-04-25", "2021-04-26"]


@pytest.fixture(params=["sqlite", "postgres"])
def new_home(request: pytest.FixtureRequest, loaded: Loading, tmp_path: Path) -> NewHome:
    """Open a home that is new, on the store that is loaded."""
    home = tmp_path / "new_home"
    home.mkdir()
    if request.param == "postgres":
        (home / "dagster.yaml").write_text(Postgres(home, request.getfixturevalue("postgres")).ours)

    @contextmanager
    def opened() -> Iterator[Loading]:
        with runs.open_instance(home) as instance:
            yield Loading(instance, loaded.tools, loaded.exchange)

    return opened


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with two datasets, one of them with a combined file. The first day has an outage."""
    root = tmp_path_factory.mktemp("stored")
    with beside_an_exchange(root) as load:
        load.run(BTC, DAYS[0], DAYS[-1])
        load.run(NEAR, "2023-10-28", "2023-10-29", assets=[KLINES, MANIFEST])
    return root


@pytest.fixture
def loaded(stored: Path, tmp_path: Path) -> Iterator[Loading]:
    """Those two datasets, in a data root of the test's own."""
    with copied(stored, tmp_path) as load:
        yield load


def report(load: Loading, **config: Any) -> runs.RunReport:
    """Run the job, as the UI and the daemon do."""
    return runs.run_op(load.instance, jobs_of(load.tools), REPORT_JOB, REPORT_OP, config=config, tags={})


def told(load: Loading, ended: runs.RunReport, dataset: Any) -> list[str | None]:
    assert ended.success, ended.error
    return load.days(ended, dataset)


def last(load: Loading, dataset: Any, asset: str) -> dict[str | None, dict[str, Any]]:
    """The metadata of the last materialization of each day, or of an asset without days."""
    records = load.instance.fetch_materializations(asset_key(dataset, asset), limit=100, ascending=True).records
    events = [record.asset_materialization for record in records]
    return {event.partition: values(event.metadata) for event in events if event}


def without_outcome(metadata: dict[str | None, dict[str, Any]], root: Path) -> dict[str | None, dict[str, Any]]:
    """With the file as a path in its data root."""
    changed = {"chunk": None, "outcome": None}
    return {
        day: {
            **entries,
            **{name: None for name in changed if name in entries},
            "file": Path(entries["file"]).relative_to(root),
        }
        for day, entries in metadata.items()
    }


def lacking(load: Loading) -> list[tuple[int, bool, bool]]:
    """Of each dataset the untold days, and whether the manifest and the combined file are untold."""
    found = compared(load.instance, load.tools.store, load.tools.store.dataset_files())
    return [(len(one.untold), one.manifest, one.combined is not None) for one in found]


def test_a_new_home_gets_what_the_loads_recorded_and_the_store_is_not_touched(
    stored: Path, loaded: Loading, new_home: NewHome
) -> None:
    folders = [path for path in loaded.tools.store.root.iterdir() if path.name.startswith("binance")]
    before = [everything(folder) for folder in folders]
    with new_home() as forgetful:
        assert lacking(forgetful) == [(3, True, True), (2, True, False)]
        ended = report(forgetful)
        assert told(forgetful, ended, BTC) == DAYS
        assert told(forgetful, ended, NEAR) == ["2023-10-28", "2023-10-29"]
        for dataset in (BTC, NEAR):
            for asset in ALL:
                mine, others = last(loaded, dataset, asset), last(forgetful, dataset, asset)
                assert without_outcome(mine, stored) == without_outcome(others, loaded.tools.store.root)
        assert last(forgetful, BTC, KLINES)[DAYS[0]]["chunk"].startswith("unchanged, confirmed, rest, ")
        assert lacking(forgetful) == [(0, False, False)] * 2
        # The status that the UI shows, and the number of rows in the list of days.
        assert forgetful.recorded_days(BTC) == set(DAYS)
    assert [everything(folder) for folder in folders] == before


def test_a_second_report_tells_nothing(new_home: NewHome) -> None:
    with new_home() as forgetful:
        report(forgetful)
        again = report(forgetful)
        assert [forgetful.materializations(again, dataset, asset) for dataset in (BTC, NEAR) for asset in ALL] == [
            []
        ] * 6


def test_a_day_with_another_chunk_and_a_day_without_one_are_told(new_home: NewHome) -> None:
    with new_home() as restored:
        report(restored)
        store = restored.store(BTC)
        key, entry = asset_key(BTC, KLINES), store.entries[DAYS[1]]
        older = DayResult(BTC.day(DAYS[1]), Outcome.LOADED, replace(entry, sha256="0" * 64))
        not_listed = DayResult(BTC.day(DAYS[2]), Outcome.NOT_LISTED)
        for result in (older, not_listed):
            event = dg.AssetMaterialization(
                key, partition=result.day.key, metadata=day_metadata(store.chunk_path(result.day), result)
            )
            restored.instance.report_runless_asset_event(event)
        assert told(restored, report(restored), BTC) == DAYS[1:]
        assert lacking(restored)[0] == (0, False, False)


def test_the_last_observation_of_live_mode_counts(new_home: NewHome) -> None:
    with new_home() as live:
        store = live.store(BTC)
        key, entry = asset_key(BTC, KLINES), store.entries[DAYS[0]]
        day = BTC.day(DAYS[0])
        first = day_metadata(store.chunk_path(day), DayResult(day, Outcome.LOADED, replace(entry, sha256="0" * 64)))
        over = day_metadata(store.chunk_path(day), DayResult(day, Outcome.LOADED, entry))
        live.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=DAYS[0], metadata=first))
        live.instance.report_runless_asset_event(dg.AssetObservation(key, partition=DAYS[0], metadata=over))
        assert told(live, report(live), BTC) == DAYS[1:]


def test_a_day_that_only_dagster_has_is_counted_and_not_touched(new_home: NewHome) -> None:
    with new_home() as newer:
        store, day = newer.store(BTC), "2021-05-01"
        result = DayResult(BTC.day(day), Outcome.LOADED, replace(store.entries[DAYS[0]], day=day))
        event = dg.AssetMaterialization(
            asset_key(BTC, KLINES), partition=day, metadata=day_metadata(store.chunk_path(result.day), result)
        )
        newer.instance.report_runless_asset_event(event)
        found = next(compared(newer.instance, newer.tools.store, newer.tools.store.dataset_files()))
        assert (found.not_stored, len(found.untold)) == (1, 3)
        assert told(newer, report(newer), BTC) == DAYS


@pytest.mark.parametrize(
    ("config", "datasets"),
    [
        ({"market": "futures"}, [NEAR]),
        ({"market": "spot", "pairs": ["BTC*"]}, [BTC]),
        ({"pairs": ["NEARUSDT"]}, [NEAR]),
        ({"universe": "mine"}, [BTC]),
    ],
)
def test_the_config_names_datasets(
    loaded: Loading, tmp_path: Path, config: dict[str, Any], datasets: list[Any]
) -> None:
    (loaded.tools.store.root / "market-data.toml").write_text(
        '[universe.mine]\nmarket = "spot"\npairs = ["BTC/USDT"]\n'
    )
    with runs.open_instance(tmp_path / "new_home") as instance:
        forgetful = Loading(instance, loaded.tools, loaded.exchange)
        ended = report(forgetful, **config)
        assert [dataset for dataset in (BTC, NEAR) if told(forgetful, ended, dataset)] == datasets


def test_a_damaged_dataset_fails_the_run_at_its_end_and_hides_no_other(loaded: Loading, tmp_path: Path) -> None:
    (damaged, _) = loaded.tools.store.dataset_files()
    damaged.write_text("{")
    with runs.open_instance(tmp_path / "new_home") as instance:
        forgetful = Loading(instance, loaded.tools, loaded.exchange)
        ended = report(forgetful)
        assert not ended.success and ended.error and str(damaged) in ended.error
        assert forgetful.days(ended, NEAR) == ["2023-10-28", "2023-10-29"]


@pytest.mark.parametrize("pairs", [["NEAR*"], ["NEARUSDT"]])
def test_a_damaged_dataset_is_no_matter_to_a_choice_without_it(
    loaded: Loading, tmp_path: Path, pairs: list[str]
) -> None:
    (damaged, _) = loaded.tools.store.dataset_files()
    damaged.write_text("{")
    with runs.open_instance(tmp_path / "new_home") as instance:
        forgetful = Loading(instance, loaded.tools, loaded.exchange)
        assert told(forgetful, report(forgetful, pairs=pairs), NEAR) == ["2023-10-28", "2023-10-29"]
        assert runs.run_op(
            instance, jobs_of(loaded.tools), COMBINE_JOB, COMBINE_OP, config={"pairs": pairs}, tags={}
        ).success


@pytest.mark.parametrize("config", [{}, {"pair": "NEARUSDT"}])
def test_a_damaged_dataset_keeps_no_other_from_repair(loaded: Loading, tmp_path: Path, config: dict[str, Any]) -> None:
    (damaged, near) = loaded.tools.store.dataset_files()
    damaged.write_text("{")
    (chunk, _) = sorted((near.parent / "chunks").glob("*.parquet"))
    content = chunk.read_bytes()
    flip_a_byte(chunk)
    ended = runs.run_op(loaded.instance, jobs_of(loaded.tools), REPAIR_JOB, REPAIR_OP, config=config, tags={})
    assert chunk.read_bytes() == content
    assert ended.success if config else str(damaged) in (ended.error or "")


def test_a_home_without_our_storage_gets_the_days_too(loaded: Loading, tmp_path: Path) -> None:
    home = tmp_path / "plain"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with runs.open_instance(home) as instance:
        forgetful = Loading(instance, loaded.tools, loaded.exchange)
        assert told(forgetful, report(forgetful), BTC) == DAYS
        assert lacking(forgetful) == [(0, False, False)] * 2


@pytest.mark.slow
def test_a_database_that_takes_no_day_for_a_while_is_told_in_one_line(loaded: Loading, tmp_path: Path) -> None:
    with runs.open_instance(tmp_path / "new_home") as instance:
        forgetful = Loading(instance, loaded.tools, loaded.exchange)
        index = sqlite3.connect(
            tmp_path / "new_home" / "history" / "runs" / "index.db", isolation_level=None, check_same_thread=False
        )
        release = threading.Timer(SQLITE_BUSY_TIMEOUT_SECONDS + 2, index.rollback)

        def locked() -> Generator[Compared]:
            yield from compared(instance, loaded.tools.store, loaded.tools.store.dataset_files(Market.SPOT))
            index.execute("BEGIN IMMEDIATE")
            release.start()
            yield from compared(instance, loaded.tools.store, loaded.tools.store.dataset_files(Market.FUTURES))

        refused = report(forgetful.with_tools(caller=Caller(compared=locked())))
        release.join()
        index.close()
        assert refused.error == (
            "Dagster's database takes no entry: database is locked; run market-data report again when it does"
        )
        assert refused.may_pass and forgetful.recorded_days(BTC) == set(DAYS)
        assert told(forgetful, report(forgetful), NEAR) == ["2023-10-28", "2023-10-29"]
