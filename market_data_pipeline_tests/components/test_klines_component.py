"""The component: which datasets its attributes define, what else it defines, and what is said of wrong attributes."""

import datetime
import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

from market_data_pipeline.components import KlineDatasetsComponent
from market_data_pipeline.core.catalog.pairs import ListedPair, PairKind, PairStatus, Snapshot, TradedDays
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.catalog.snapshots import CatalogStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.instance import runs
from market_data_pipeline.instance.names import CAN_BE_READ
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.defs.loading import BTC, KLINES, MANIFEST, Loading, beside_an_exchange
from market_data_pipeline_tests.support import CHECKOUT
from market_data_pipeline_tests.test_docs import rows_of

Defined = Callable[..., dg.Definitions]
PAGE = CHECKOUT / "docs" / "component.md"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two spot datasets, one of them with days of Zurich."""
    store = Store(tmp_path / "data")
    store.create(Market.SPOT, "BTC/USDT", zone=parse_zone("Europe/Zurich"), start=date(2020, 1, 1))
    store.create(Market.SPOT, "ETH/USDT", zone=parse_zone("UTC"), start=date(2021, 3, 4))
    return store


@pytest.fixture
def defined(store: Store, monkeypatch: pytest.MonkeyPatch) -> Defined:
    """What a component with these attributes defines, in a project without settings."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def defs_of(**attributes: Any) -> dg.Definitions:
        given = {"data_dir": str(store.root), **attributes}
        return dg.build_defs_for_component(KlineDatasetsComponent.from_attributes_dict(attributes=given))

    return defs_of


def pairs_of(definitions: dg.Definitions) -> dict[str, str]:
    """The first partition of each pair's klines, by `market/pair`."""
    graph = definitions.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.materializable_asset_keys if key.path[-1] == KLINES]
    return {
        f"{node.metadata['market']}/{node.metadata['pair']}": str(node.partitions_def.get_first_partition_key())
        for node in nodes
        if node.partitions_def
    }


def test_pairs_are_defined_whether_they_are_stored_or_not(defined: Defined) -> None:
    assert pairs_of(defined(market="spot", pairs=["ETHUSDT", "SOL/USDT"])) == {
        "spot/ETH/USDT": "2021-03-04",
        "spot/SOL/USDT": "2020-01-01",
    }


def test_globs_choose_among_stored_pairs(defined: Defined) -> None:
    assert pairs_of(defined(market="spot", pairs=["*/USDT", "!BTC/*"])) == {"spot/ETH/USDT": "2021-03-04"}


def test_a_glob_that_matches_nothing_is_a_warning(defined: Defined, caplog: pytest.LogCaptureFixture) -> None:
    assert pairs_of(defined(market="futures", pairs=["*/USDT"])) == {}
    assert "'*/USDT' matches no futures pair that is stored or in the catalog" in caplog.text


def keep_catalog(store: Store, *pairs: str) -> None:
    """A catalog of these spot pairs; one without a slash is a symbol of which base and quote are not clear."""
    lives = (TradedDays(date(2020, 1, 1), None),)
    listed = []
    for pair in pairs:
        base, _, quote = pair.rpartition("/")
        of_base = (base, quote) if base else ("", "")
        listed.append(ListedPair(Market.SPOT, pair, *of_base, PairKind.SPOT, PairStatus.TRADING, lives))
    catalog = CatalogStore(store.root, Market.SPOT)
    with catalog.lock():
        catalog.write(Snapshot(Market.SPOT, date(2024, 6, 1), tuple(listed)))


def test_an_odd_pair_of_the_catalog_harms_no_other(
    store: Store, defined: Defined, caplog: pytest.LogCaptureFixture
) -> None:
    keep_catalog(store, "BTC/IRUSD", "E/THUSDT", "SOL/USDT", "USDTODD")
    stored = {"spot/BTC/USDT": "2020-01-01", "spot/ETH/USDT": "2021-03-04"}
    assert pairs_of(defined(market="spot", pairs=["*"])) == {
        **stored,
        "spot/BTC/IRUSD": "2020-01-01",
        "spot/SOL/USDT": "2020-01-01",
    }
    assert "USDTODD, which ends with no known quote asset" in caplog.text
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="the exchange does not list USDTODD"):
        defined(market="spot", pairs=["*", "USDTODD"])


def test_a_universe_gives_what_is_left_out(store: Store, defined: Defined) -> None:
    (store.root / "market-data.toml").write_text(
        '[universe.majors]\nmarket = "spot"\npairs = ["*/USDT"]\nstart = "2024-05-01"\nzone = "Asia/Tokyo"\n'
    )
    definitions = defined(universe="majors", pairs=["SOL/USDT"])
    assert pairs_of(definitions) == dict.fromkeys(["spot/BTC/USDT", "spot/ETH/USDT", "spot/SOL/USDT"], "2024-05-01")
    zones = {
        key.path[1]: definitions.resolve_asset_graph().get(key).metadata["zone"]
        for key in definitions.resolve_asset_graph().materializable_asset_keys
    }
    assert zones == {"BTCUSDT": "Europe/Zurich", "ETHUSDT": "UTC", "SOLUSDT": "Asia/Tokyo"}
    assert set(pairs_of(defined(universe="majors", start="2024-06-01")).values()) == {"2024-06-01"}


def test_a_template_that_is_empty_counts_as_left_out(
    store: Store, defined: Defined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET_DATA_DIR", str(store.root))
    monkeypatch.setenv("MARKET_DATA_EXCHANGE_URL", "http://127.0.0.1:9")
    definitions = defined(market="spot", pairs=["*/USDT"], data_dir="", exchange_url="")
    assert pairs_of(definitions) == {"spot/BTC/USDT": "2020-01-01", "spot/ETH/USDT": "2021-03-04"}
    rest = definitions.resolve_asset_graph().get(dg.AssetKey(["binance", "rest"]))
    assert str(rest.metadata["url"].value).startswith("http://127.0.0.1:9/")


def test_names_of_a_location_are_left_to_its_owner(defined: Defined) -> None:
    definitions = defined(market="spot", pairs=["*/USDT"])
    given = [definitions.jobs, definitions.schedules, definitions.sensors, definitions.resources, definitions.executor]
    assert not any(given)
    own = dg.Definitions(
        jobs=[dg.job(name="load")(lambda: None)],
        resources={"tools": dg.ResourceDefinition.hardcoded_resource("mine")},
    )
    repository = dg.Definitions.merge(definitions, own).get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} == {"load", "__ASSET_JOB"}


def test_groups_tags_owners_and_sources_are_those_of_the_project(defined: Defined) -> None:
    graph = defined(market="spot", pairs=["BTC/USDT"], owners=["team:quants"]).resolve_asset_graph()
    klines = graph.get(dg.AssetKey(["binance", "BTCUSDT", "klines_1m"]))
    assert (klines.group_name, list(klines.owners), klines.code_version) == ("spot_USDT", ["team:quants"], "1")
    assert klines.tags["quote"] == "USDT"
    assert {key.to_user_string() for key in klines.parent_keys} == {"binance/rest", "binance/archive"}
    assert {key.to_user_string() for key in graph.external_asset_keys} == {"binance/rest", "binance/archive"}
    assert len(graph.asset_check_keys) == 8


def test_a_dataset_that_cannot_be_read_has_one_check_and_harms_no_other(store: Store, defined: Defined) -> None:
    (store.root / "binance" / "BTCUSDT" / "1m" / "dataset.json").write_text("{")
    definitions = defined(market="spot", pairs=["BTC/USDT", "ETH/USDT"])
    assert list(pairs_of(definitions)) == ["spot/ETH/USDT"]
    assert unreadable_of(definitions) == ["BTCUSDT"]


def unreadable_of(definitions: dg.Definitions) -> list[str]:
    """The symbols of the datasets that have the check of one that cannot be read."""
    checks = definitions.resolve_asset_graph().asset_check_keys
    return sorted(check.asset_key.path[1] for check in checks if check.name == CAN_BE_READ)


@pytest.mark.parametrize(
    ("pairs", "read", "unreadable"),
    [
        (["*/USDT"], ["spot/ETH/USDT"], ["BTCUSDT"]),
        (["B*"], [], ["BTCUSDT"]),
        (["BTC/USDT", "*/USDT"], ["spot/ETH/USDT"], ["BTCUSDT"]),
        (["*/USDT", "!BTC/USDT"], ["spot/ETH/USDT"], []),
        (["*/BTC", "ETH/USDT"], ["spot/ETH/USDT"], []),
    ],
)
def test_one_that_cannot_be_read_has_its_check_where_a_glob_may_mean_it(
    store: Store, defined: Defined, pairs: list[str], read: list[str], unreadable: list[str]
) -> None:
    """Its symbol alone is known then, also where there is no catalog."""
    (store.root / "binance" / "BTCUSDT" / "1m" / "dataset.json").write_text("{")
    definitions = defined(market="spot", pairs=pairs)
    assert (list(pairs_of(definitions)), unreadable_of(definitions)) == (read, unreadable)


def test_the_catalog_tells_what_one_is_that_cannot_be_read(store: Store, defined: Defined) -> None:
    keep_catalog(store, "BTCU/SDT", "ETH/USDT")
    (store.root / "binance" / "BTCUSDT" / "1m" / "dataset.json").write_text("{")
    assert unreadable_of(defined(market="spot", pairs=["*/USDT"])) == []
    assert unreadable_of(defined(market="spot", pairs=["*/SDT"])) == ["BTCUSDT"]


def test_loading_the_definitions_writes_nothing(store: Store, defined: Defined) -> None:
    before = sorted(store.root.rglob("*"))
    pairs_of(defined(market="spot", pairs=["*/USDT", "SOL/USDT"], live=True))
    assert sorted(store.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"market": "spott", "pairs": ["BTC/USDT"]}, "market: Input should be 'spot' or 'futures', not 'spott'"),
        ({"market": "spot"}, "no pair is named; write pairs, for example [BTC/USDT], or the name of a universe"),
        ({"pairs": "BTC/USDT"}, "pairs: Input should be a valid list, not 'BTC/USDT'"),
        ({"pairs": ["BTC/USDT"], "zone": "Europe/Zurych"}, "no such time zone: 'Europe/Zurych'; did you mean"),
        ({"pairs": ["BTC/USDT"], "start": "May 2024"}, "not a date or ISO time: 'May 2024'"),
        ({"pairs": ["BTC/USDT"], "start": "2024-13-01"}, "not a date or ISO time: '2024-13-01'"),
        ({"pairs": ["BTC/USDT"], "source": "web"}, "source: Input should be 'auto', 'rest' or 'archive', not 'web'"),
        ({"pairs": ["BTC/USDT"], "owners": ["quants"]}, "owners: Value error, give e-mail addresses or team:NAME"),
        ({"pairs": ["BTC/USDT"], "exchange_url": "localhost"}, "exchange_url: Value error, give a URL"),
        ({"pairs": ["BTC/USDT"], "exchange_url": "http://[::1"}, "exchange_url: Value error, give a URL"),
        pytest.param(
            {"pairs": ["BTC/USDT"], "data_dir": "~nosuch/klines"},
            "there is no such home folder; give an absolute path",
            marks=pytest.mark.skipif("os.name == 'nt'", reason="Windows looks for no such user"),
        ),
        ({"universe": "majors"}, "no universe 'majors' in"),
        ({"market": "spot", "pairs": ["BTCU/SDT"]}, "BTCU/SDT"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(defined: Defined, attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError) as raised:
        defined(**attributes)
    message = str(raised.value)
    assert said in message
    assert "\n" not in message
    assert raised.value.__cause__ is None


# --- live mode


def sensor_of(definitions: dg.Definitions) -> dg.SensorDefinition:
    [sensor] = definitions.sensors or []
    assert isinstance(sensor, dg.SensorDefinition)
    return sensor


def test_a_sensor_that_was_asked_for_is_on_and_waits_for_the_first_day(defined: Defined) -> None:
    sensor = sensor_of(defined(market="spot", pairs=["SOL/USDT"], live=True))
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.name.startswith("binance_live_")
    with dg.build_sensor_context() as context:
        told = sensor(context)
    assert isinstance(told, dg.SkipReason)
    assert told.skip_message == (
        "No spot dataset that is defined here is stored; materialize a day of klines_1m first."
    )


@pytest.fixture
def load(tmp_path: Path, defined: Defined, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    """Another data root beside a simulated exchange, with its Dagster instance."""
    root = tmp_path / "beside"
    monkeypatch.setenv("DAGSTER_HOME", str(root / "dagster"))
    with beside_an_exchange(root) as set_up:
        yield set_up


@pytest.mark.slow
def test_the_sensor_marks_its_datasets_alone_and_follows_them(load: Loading, defined: Defined) -> None:
    other = load.tools.store.create(Market.SPOT, "ETH/USDT", zone=parse_zone("UTC"), start=date(2024, 1, 1))
    other.mark_live(True)
    load.run(BTC, "2024-05-14", assets=[KLINES, MANIFEST])
    root, url = str(load.tools.store.root), load.tools.base_url
    sensor = sensor_of(defined(data_dir=root, market="spot", pairs=["BTC/USDT"], live=True, exchange_url=url))
    with dg.build_sensor_context(load.instance) as context:
        told = sensor(context)
    stored = load.tools.store.find(Market.SPOT, "BTC/USDT")
    assert stored is not None
    assert stored.live
    assert isinstance(told, dg.SensorResult)
    assert '"datasets": 1,' in str(told.cursor)
    [request] = told.run_requests or []
    assert request.asset_selection == [asset_key(BTC, name) for name in (KLINES, MANIFEST)]


@pytest.mark.slow
def test_what_is_missing_from_before_the_first_partition_keeps_no_minute_back(load: Loading, defined: Defined) -> None:
    """Dagster refuses a run of days that the definitions do not have."""
    long_ago, first, today = (day_before(load, days) for days in (3, 1, 0))
    load.run(BTC, long_ago, assets=[KLINES, MANIFEST])
    definitions, tick = following(load, defined, start=first)
    [request] = tick().run_requests or []
    days = tuple(request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
    assert days == (first, today)
    in_process = dg.Definitions.merge(definitions, dg.Definitions(executor=dg.in_process_executor))
    assert runs.run(load.instance, in_process, BTC, [KLINES, MANIFEST], days=days).success
    told = []
    for _ in range(2):  # the first one sees what the run has stored
        load.exchange.clock.advance(60)
        told.append(tick())
    assert [each.run_requests for each in told] == [[], []]
    assert '"behind": 0,' in str(told[-1].cursor)
    assert list(load.store(BTC).entries) == [long_ago, first, today]


@pytest.mark.slow
def test_before_the_first_partition_no_run_is_requested(load: Loading, defined: Defined) -> None:
    load.run(BTC, day_before(load, 3), assets=[KLINES, MANIFEST])
    _, tick = following(load, defined, start=day_before(load, -2))
    assert tick().run_requests == []


def day_before(load: Loading, days: int) -> str:
    """The day so long before today, of the exchange's clock."""
    return (load.exchange.clock.now().date() - datetime.timedelta(days=days)).isoformat()


def following(load: Loading, defined: Defined, *, start: str) -> tuple[dg.Definitions, Callable[[], dg.SensorResult]]:
    """Definitions of the pair with a sensor, and a function that evaluates a tick of it."""
    of_btc = {"data_dir": str(load.tools.store.root), "exchange_url": load.tools.base_url, "pairs": ["BTC/USDT"]}
    # From 10:00 UTC on, yesterday would be compared with the archive.
    definitions = defined(**of_btc, market="spot", start=start, live=True, source="rest")
    sensor = sensor_of(definitions)

    def tick() -> dg.SensorResult:
        with dg.build_sensor_context(load.instance) as context:
            told = sensor(context)
        assert isinstance(told, dg.SensorResult)
        return told

    return definitions, tick


# --- the docs


def test_the_automation_of_the_page_loads_yesterday_and_today_once_a_day(defined: Defined) -> None:
    (text,) = re.findall(r"^```yaml\n(post_processing:.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    (rule,) = yaml.safe_load(text)["post_processing"]["assets"]
    template = NativeEnvironment().from_string(rule["attributes"]["automation_condition"])
    condition = template.render(dg=dg, datetime=datetime)
    definitions = defined(market="spot", pairs=["BTC/USDT"])
    chosen = dg.AssetSelection.from_string(rule["target"]).resolve(definitions.resolve_asset_graph())
    klines = dg.AssetKey(["binance", "BTCUSDT", "klines_1m"])
    assert chosen == {klines}
    with_condition = definitions.map_asset_specs(
        func=lambda spec: spec.replace_attributes(automation_condition=condition) if spec.key in chosen else spec
    )
    cursor, requested = None, []
    with dg.DagsterInstance.ephemeral() as instance:
        for at in ("2024-05-14T10:29Z", "2024-05-14T10:31Z", "2024-05-14T10:32Z", "2024-05-15T10:31Z"):
            found = dg.evaluate_automation_conditions(
                with_condition, instance, cursor=cursor, evaluation_time=datetime.datetime.fromisoformat(at)
            )
            cursor = found.cursor
            requested.append(found.get_requested_partitions(klines))
    assert requested == [set(), {"2024-05-13", "2024-05-14"}, set(), {"2024-05-14", "2024-05-15"}]


def test_the_page_of_the_component_lists_its_attributes() -> None:
    rows = rows_of("docs/component.md", "| attribute | default | meaning |")
    fields = KlineDatasetsComponent.model_fields
    assert rows == {
        name: ["`false`" if field.default is False else "", field.description] for name, field in fields.items()
    }
    assert all(field.examples for field in fields.values())


def test_the_component_is_registered_where_dg_looks() -> None:
    text = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    assert (
        '[project.entry-points."dagster_dg_cli.registry_modules"]\n'
        'market_data_pipeline = "market_data_pipeline.components"\n'
    ) in text
