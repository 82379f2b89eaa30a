"""A session of live mode: what it follows if a dataset is odd, how the end of a thread ends it, what Dagster gets."""

import re
import threading
import tracemalloc
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from market_data_pipeline.app.health import check_health
from market_data_pipeline.app.live import LiveReport, LiveRequest, follow, mark
from market_data_pipeline.app.live_dagster import DagsterThread
from market_data_pipeline.app.market.live import find_or_create_datasets
from market_data_pipeline.app.targets import Target, target_of
from market_data_pipeline.core.errors import SourceUnavailable, StoreError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import day_of, parse_zone
from market_data_pipeline.core.live import runs_due
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.live.runs_due import DueDays, Reason
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.instance import runs
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.instance.names import KLINES
from market_data_pipeline.instance.postgres_storage import BatchedPostgresStorage
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.app.conftest import Load
from market_data_pipeline_tests.servers import Link
from market_data_pipeline_tests.support import NOON, Simulate, wait_until


@pytest.fixture
def running(simulate: Simulate) -> RunningExchange:
    """An exchange whose minutes end after a second."""
    return simulate(now=NOON, speed=60, weights=False)


class Watching:
    """A watcher that raises at its first update, as a bug would."""

    def __init__(self, error: BaseException | None) -> None:
        self.error, self.troubles = error, list[str]()

    def on_update(self, *_: Any) -> None:
        if self.error:
            raise self.error

    def on_minute(self, *_: Any) -> None:
        pass

    def on_trouble(self, trouble: str) -> None:
        self.troubles.append(trouble)


def followed(
    settings: Settings, target: Target, watching: Watching, *, stopped: threading.Event | None = None, **request: Any
) -> LiveReport:
    return follow(
        settings,
        LiveRequest(target, **request),
        stopped=stopped or threading.Event(),
        on_load=lambda _: (lambda *_: None, lambda _: None),
        watch=lambda *_: watching,
    )


def signs(settings: Settings, target: Target) -> list[str]:
    return [sign.detail for sign in check_health(settings, target) if sign.name == "live" and not sign.ok]


def marked(settings: Settings, pair: str, market: Market = Market.SPOT) -> DatasetStore:
    """A new dataset that is marked live."""
    files = store_of(settings).create(market, pair, zone=parse_zone("UTC"), start=NOON.date())
    files.mark_live(True)
    return files


def damage(files: DatasetStore) -> None:
    (files.folder / "dataset.json").write_text("{", encoding="utf-8")


def newest_ms(settings: Settings, files: DatasetStore) -> int | None:
    """Of the klines on disk."""
    return store_of(settings).open(files.dataset).newest_open_ms


def test_a_damaged_dataset_is_told_and_the_others_are_followed(settings: Settings) -> None:
    odd, other = marked(settings, "BTC/USDT"), marked(settings, "ETH/USDT")
    damage(odd)
    damage(marked(settings, "BTC/USDT", Market.FUTURES))  # of a market that is not named
    report = followed(settings, target_of(settings, "spot"), Watching(None), minutes=1)
    assert report.datasets == 1
    assert newest_ms(settings, other) is not None
    [(name, error)] = report.errors.items()
    assert name == "binance/BTCUSDT"
    assert f"{odd.folder / 'dataset.json'} is damaged" in error
    assert report.warnings == [f"{name} is not followed: {error}"]
    assert not report.may_pass


def test_where_no_other_is_marked_the_default_dataset_does_not_take_the_place_of_a_damaged_one(
    settings: Settings,
) -> None:
    damage(marked(settings, "ETH/USDT"))
    with pytest.raises(StoreError, match=r"ETHUSDT.*dataset.json is damaged"):
        followed(settings, target_of(settings), Watching(None), minutes=1)
    assert [path.parent.parent.name for path in store_of(settings).dataset_files()] == ["ETHUSDT"]


def test_a_market_of_which_nothing_can_be_followed_does_not_end_the_other(settings: Settings) -> None:
    odd, other = marked(settings, "BTC/USDT"), marked(settings, "BTC/USDT", Market.FUTURES)
    datasets = odd.dataset, other.dataset
    damage(odd)
    report = followed(settings, target_of(settings), Watching(None), minutes=1, datasets=datasets)
    assert report.datasets == 1
    assert newest_ms(settings, other) is not None
    assert list(report.errors) == ["spot"]
    with pytest.raises(StoreError, match="dataset.json is damaged"):
        followed(settings, target_of(settings), Watching(None), minutes=1, datasets=datasets[:1])


def test_days_that_cannot_be_loaded_keep_no_other_dataset_from_its_klines(
    running: RunningExchange, settings: Settings
) -> None:
    odd, other = marked(settings, "BTC/USDT"), marked(settings, "ETH/USDT")
    running.exchange.hooks.append(lambda request: "451" if request.params.get("symbol") == "BTCUSDT" else None)
    report = followed(settings, target_of(settings), Watching(None), minutes=1)
    assert report.datasets == 2
    assert newest_ms(settings, other) is not None
    assert newest_ms(settings, odd) is None
    [warning] = report.warnings
    assert "HTTP 451" in warning
    assert warning.startswith("spot BTC/USDT: ")
    with pytest.raises(SourceUnavailable, match="HTTP 451"):
        followed(settings, target_of(settings, "spot", "BTC/USDT"), Watching(None), minutes=1)


def test_a_market_that_does_not_answer_keeps_no_other_from_its_klines(
    running: RunningExchange, settings: Settings
) -> None:
    odd, other = marked(settings, "BTC/USDT", Market.FUTURES), marked(settings, "BTC/USDT")
    running.exchange.hooks.append(lambda request: "451" if request.area == "futures" else None)
    watching = Watching(None)
    stopped = threading.Event()
    watching.on_minute = lambda *_: stopped.set()  # type: ignore[method-assign]
    report = followed(settings, target_of(settings), watching, stopped=stopped)
    assert report.datasets == 2
    assert (newest_ms(settings, other) is not None, newest_ms(settings, odd)) == (True, None)
    [warning] = report.warnings
    assert warning.startswith("futures is tried again until it answers: ")
    assert "HTTP 451" in report.errors[odd.dataset.name]
    assert list(report.errors) == [odd.dataset.name]
    assert report.may_pass
    assert any("HTTP 451" in trouble for trouble in watching.troubles)
    with pytest.raises(SourceUnavailable, match="HTTP 451"):
        followed(settings, target_of(settings, "futures"), Watching(None), minutes=1)


def test_new_pairs_that_the_exchange_is_away_for_keep_no_stored_one_from_being_followed(
    running: RunningExchange, settings: Settings
) -> None:
    stored = marked(settings, "BTC/USDT")
    running.exchange.hooks.append(lambda request: "451" if request.area == "spot" else None)
    new, other = target_of(settings, "spot", "NEAR/USDT"), target_of(settings, "spot", "ETH/USDT")
    named = find_or_create_datasets(settings, [new, target_of(settings, "spot", "BTC/USDT"), other])
    assert named.datasets == [stored.dataset]
    assert {"spot NEAR/USDT", "spot ETH/USDT"} == named.errors.keys() == named.passing
    with pytest.raises(SourceUnavailable, match="HTTP 451"):
        find_or_create_datasets(settings, [new, other])


def test_an_exchange_that_does_not_answer_keeps_live_mode_from_its_first_minute_for_three_loads(
    running: RunningExchange, settings: Settings
) -> None:
    names = {marked(settings, f"{base}/USDT").dataset.name for base in ("BNB", "BTC", "ETH", "NEAR")}
    running.exchange.hooks.append(lambda request: "451" if "symbol" in request.params else None)
    report = followed(settings, target_of(settings), Watching(None), minutes=1)
    assert report.datasets == 4
    *told, left = report.warnings
    assert len({warning.partition(":")[0] for warning in told} & names) == len(told) == 3
    assert left == "1 more dataset is loaded after the first minute, not before it"


@pytest.mark.parametrize("error", [ValueError("a bug\nin two lines"), SystemExit(3)])
def test_a_thread_of_a_market_that_ends_is_an_error_of_the_session(
    load: Load, settings: Settings, target: Target, error: BaseException
) -> None:
    load("2024-05-15", None)
    watching = Watching(error)
    report = followed(settings, target, watching)
    [reason] = report.errors.values()
    assert f"ended by {type(error).__name__}" in reason
    assert "\n" not in reason
    assert reason in watching.troubles
    assert not report.may_pass
    [sign] = signs(settings, target)
    assert reason in sign
    mark(settings, target, live=False)
    assert signs(settings, target) == []


def test_the_thread_for_dagster_tells_how_it_ended(load: Load, settings: Settings, tmp_path: Path) -> None:
    """The callback for troubles raises in that thread, as Dagster has no home."""
    dataset, update = updated(load, settings)
    home = tmp_path / "other"
    home.write_text("a file where the folder should be")
    ended, has_ended = list[BaseException](), threading.Event()

    def fail(trouble: str) -> None:
        raise SystemExit(trouble)

    def on_end(error: BaseException) -> None:
        ended.append(error)
        has_ended.set()

    with DagsterThread(settings.model_copy(update={"dagster_home": home}), fail, on_end) as thread:
        thread.record(dataset, update)
        assert has_ended.wait(60)
    assert [type(error) for error in ended] == [SystemExit]


def test_what_dagster_refused_is_told_once_more_at_the_end(load: Load, settings: Settings, tmp_path: Path) -> None:
    dataset, update = updated(load, settings)
    home, troubles = tmp_path / "other", list[str]()
    home.write_text("a file where the folder should be")

    def on_trouble(trouble: str) -> None:
        troubles.append(trouble)
        home.unlink()

    with DagsterThread(settings.model_copy(update={"dagster_home": home}), on_trouble, pytest.fail) as thread:
        thread.record(dataset, update)
    assert len(troubles) == 1
    with runs.open_instance(home) as instance:
        assert instance.get_materialized_partitions(asset_key(dataset, KLINES)) == {"2024-05-13"}


def test_a_database_that_goes_away_is_told_in_one_line(
    load: Load, settings: Settings, tmp_path: Path, postgres: str, link: Link
) -> None:
    through = sa.make_url(postgres).set(host="127.0.0.1", port=link.port).render_as_string(hide_password=False)
    storage = {"module": BatchedPostgresStorage.__module__, "class": BatchedPostgresStorage.__name__}
    home, troubles = tmp_path / "other", list[str]()
    home.mkdir()
    written = {"storage": {"custom": storage | {"config": {"postgres_url": through}}}}
    (home / "dagster.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    dataset = load("2024-05-12", "2024-05-14").dataset
    entries = tuple(store_of(settings).open(dataset).entries.values())

    def recorded() -> set[str]:
        with runs.open_instance(home) as instance:
            return set(instance.get_materialized_partitions(asset_key(dataset, KLINES)))

    known = settings.model_copy(update={"dagster_home": home})
    with DagsterThread(known, troubles.append, pytest.fail) as thread:
        thread.record(dataset, Update(dataset.name, None, entries=entries[:1]))
        wait_until(lambda: recorded() == {"2024-05-12"}, 60)
        link.cut()
        thread.record(dataset, Update(dataset.name, None, entries=entries[1:]))
        wait_until(lambda: bool(troubles), 60)
        link.mend()
    # The first of them where a new connection is tried, the other where one is cut off.
    causes = "connection to server at |server closed the connection unexpectedly"
    assert re.match(rf"Dagster's database takes no entry of live mode \(({causes})", troubles[0]), troubles
    assert "\n" not in troubles[0]
    assert "Background on this error" not in troubles[0]
    assert recorded() == {"2024-05-12", "2024-05-13"}


def test_updates_that_wait_for_a_database_take_no_more_memory_each_minute(load: Load, settings: Settings) -> None:
    dataset = load("2024-05-12", "2024-05-14").dataset
    entries = tuple(store_of(settings).open(dataset).entries.values())
    thread = DagsterThread(settings, pytest.fail, pytest.fail)
    tracemalloc.start()
    try:
        for number in range(20_000):
            thread.record(dataset, Update(dataset.name, number, entries=entries[number % 2 :][:1]))
        grown_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert grown_bytes < 1_000_000
    with thread:
        pass
    with runs.open_instance(settings.home) as instance:
        told = instance.fetch_observations(asset_key(dataset, KLINES), 10).records
    assert {each.event_log_entry.get_dagster_event().partition for each in told} == {"2024-05-12", "2024-05-13"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The monotonic clock by which pauses between loads are counted; it stands still until `now_s` is changed."""
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(runs_due, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    return clock


def test_a_load_that_waits_for_others_is_queued_once(settings: Settings, clock: SimpleNamespace) -> None:
    """Its pause begins when it has ended, however long it waited."""
    names = ("NONE0", "NONE1", "NONE2", "NONE3")
    first, second, third, fourth = (due_of(settings, f"{name}/USDT") for name in names)
    longer = replace(second, last=day_of(second.store.dataset.zone, date(2024, 5, 14)))
    begun, may_end, loaded = threading.Event(), threading.Event(), list[str]()

    def on_trouble(trouble: str) -> None:
        loaded.extend(name for name in names if name in trouble)
        begun.set()
        assert may_end.wait(60)

    with DagsterThread(settings, on_trouble, pytest.fail) as thread:
        thread.load([first, second])
        assert begun.wait(60)
        for _ in range(3):
            clock.now_s += Reason.MISSING.pause_s + 1
            thread.load([first, second, longer])
        thread.load([third])
        may_end.set()
        wait_until(lambda: "NONE2" in loaded)
        thread.load([first, second, fourth])  # within the pause of two of them
        wait_until(lambda: "NONE3" in loaded)
        assert loaded == ["NONE0", "NONE1", "NONE2", "NONE3"]
        clock.now_s += Reason.MISSING.pause_s + 1
        thread.load([second])
        wait_until(lambda: loaded[4:] == ["NONE1"])


def test_a_load_that_raised_is_tried_again_after_the_pause(settings: Settings, clock: SimpleNamespace) -> None:
    due, troubles = due_of(settings, "NONE/USDT"), list[str]()
    (due.store.folder / "dataset.json").write_text("{", encoding="utf-8")
    with DagsterThread(settings, troubles.append, pytest.fail) as thread:
        for times in (1, 2):
            thread.load([due])
            wait_until(lambda times=times: len(troubles) == times)  # type: ignore[misc]
            clock.now_s += Reason.MISSING.pause_s + 1


def due_of(settings: Settings, pair: str) -> DueDays:
    """A due day of a pair that the exchange does not know, so that its load ends with a line that names it."""
    zone, start = parse_zone("UTC"), date(2024, 5, 13)
    day = day_of(zone, start)
    return DueDays(store_of(settings).create(Market.SPOT, pair, zone=zone, start=start), Reason.MISSING, day, day)


def updated(load: Load, settings: Settings) -> tuple[Dataset, Update]:
    dataset = load("2024-05-13", "2024-05-14").dataset
    entries = tuple(store_of(settings).open(dataset).entries.values())
    return dataset, Update(dataset.name, None, entries=entries)
