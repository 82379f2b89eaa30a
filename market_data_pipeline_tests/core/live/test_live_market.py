"""Live mode over HTTP, minute by minute: what it leaves at the end of a day is what a backfill of that day leaves.

The exchange's clock stands still and is moved on a minute at a time, so no minute is skipped however slow the tester.
"""

import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.klines.coverage import Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS, day_at, parse_zone
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.live.failures import Failures
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.live.runs_due import Reason
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.resolve import dataset_of, resolve
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.sources.opening import LiveSources
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import State
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.instance.composition import live_market_of, opener_of, store_of
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.simulator.scenarios import with_others
from market_data_pipeline_tests.support import Simulate, at, budget_in, chunk_files, klines_of

pytestmark = pytest.mark.timeout(600)
# What a live client meets; conflicting rows are refused, the others retried.
FAULTS = {
    "429": 0.001,
    "503": 0.005,
    "reset": 0.005,
    "late": 0.3,
    "provisional": 1,
    "drop_rows": 0.02,
    "empty": 0.02,
    "open_as_closed": 0.2,
    "repeat_rows": 0.02,
    "html": 0.005,
}


@dataclass
class Followed:
    """A dataset that is followed over HTTP, and the way to load it otherwise."""

    settings: Settings
    running: RunningExchange
    market: Market
    pair: str
    zone: str

    def other_root(self, name: str) -> "Followed":
        root = self.settings.root.with_name(name)
        return Followed(
            self.settings.model_copy(update={"market_data_dir": root}), self.running, self.market, self.pair, self.zone
        )

    def open(self, who: str = "a test") -> LiveMarket:
        live = live_market_of(self.settings, self.market, who)
        dataset = store_of(self.settings).find(self.market, self.pair)
        assert dataset is not None
        assert live.follow([dataset]) == {}
        return live

    def load(self, day_of_ms: int) -> DatasetStore:
        """Backfill the day of an instant, as far as it is over, by REST."""
        zone = parse_zone(self.zone)
        day = day_at(zone, day_of_ms)
        resolved = resolve(opener_of(self.settings, "rest"), self.market, self.pair, strict=True)
        try:
            window = Span(day.start_ms, min(day.end_ms, self.now_ms))
            store = dataset_of(store_of(self.settings), resolved, zone=zone, window=window)
            for result in backfill(store, resolved.source, window):
                assert result.error is None
            return store
        finally:
            resolved.source.close()

    @property
    def now_ms(self) -> int:
        return self.running.exchange.clock.now_ms()

    def minutes(self, live: LiveMarket, until: str, *, patience_s: float = 0) -> Iterator[Update]:
        """One tick for each minute until the instant."""
        stopped = threading.Event()
        while self.now_ms < at(until):
            edge_ms = live.await_minute(stopped, longest_s=0.5)
            assert edge_ms is not None
            yield from live.tick(edge_ms, patience_s=patience_s, stopped=stopped)
            self.running.exchange.clock.advance(60)


Begin = Callable[..., Followed]


@pytest.fixture
def begin(simulate: Simulate, tmp_path: Path) -> Begin:
    """A dataset that was loaded up to the instant at which the exchange's clock stands."""

    def begun(market: str, pair: str, zone: str, now: str, **options: object) -> Followed:
        running = simulate(now=datetime.fromisoformat(now).replace(tzinfo=UTC), weights=False, **options)
        settings = Settings(
            market_data_dir=tmp_path / "root", market_data_exchange_url=running.url, manifest_write_interval_sec=0
        )
        followed = Followed(settings, running, Market(market), pair, zone)
        followed.load(followed.now_ms)
        return followed

    return begun


def day_of(followed: Followed, key: str) -> Path:
    return chunk_files(followed.settings.root)[key]


def assert_equal_to_a_backfill(followed: Followed, key: str, inside: str) -> None:
    """The day confirmed by a run is, to the byte, the day that a backfill loads into an empty store."""
    live = followed.open()
    try:
        (due,) = live.due_days()
        assert (due.reason, due.last.key) == (Reason.TO_CONFIRM, key)
    finally:
        live.close()
    store = followed.load(at(inside))
    assert store.entries[key].state is State.CONFIRMED
    other = followed.other_root("other")
    other.load(at(inside))
    assert day_of(followed, key).read_bytes() == day_of(other, key).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "since"),
    # Each fault is waited out, so with them only the second half of the day is followed.
    [({}, "2023-10-28T21:30:05"), (FAULTS, "2023-10-29T11:00:05")],
    ids=["no faults", "faults"],
)
def test_the_day_of_25_hours_followed_minute_by_minute(
    begin: Begin, real_archive: Path, faults: dict[str, float], since: str
) -> None:
    followed = begin("futures", "NEAR/USDT", "Europe/Zurich", since, archive_dir=real_archive)
    followed.running.exchange.faults = faults
    followed.running.exchange.faults.late_seconds = 30
    live = followed.open()
    updates = list(followed.minutes(live, "2023-10-29T23:10"))
    live.close()
    followed.running.exchange.faults = {}
    if not faults:
        assert [update.error for update in updates if update.error] == []
        assert [update.added for update in updates[1:]] == [1] * (len(updates) - 1)
    provisional = klines_of(day_of(followed, "2023-10-29"))
    assert_equal_to_a_backfill(followed, "2023-10-29", "2023-10-29T12:00")
    assert klines_of(day_of(followed, "2023-10-29")).num_rows == 1500
    # The run had nothing to correct: ticks read each minute again until it was final.
    assert provisional.num_rows == 1500
    if "drop_rows" not in faults:
        assert provisional.equals(klines_of(day_of(followed, "2023-10-29")))


@pytest.mark.slow
def test_the_outage_of_april_2021_followed_minute_by_minute(begin: Begin, real_archive: Path) -> None:
    followed = begin("spot", "BTC/USDT", "UTC", "2021-04-24T23:50:05", archive_dir=real_archive)
    live = followed.open()
    updates = list(followed.minutes(live, "2021-04-26T00:10"))
    due = live.due_days()
    live.close()
    assert sum(update.is_late for update in updates) == 284
    assert [update.error for update in updates if update.error] == []
    # Nobody asked for a run while the exchange had no klines, and the outage is known before any run.
    assert [one.reason for one in due] == [Reason.TO_CONFIRM]
    entry = store_of(followed.settings).open(due[0].store.dataset).entries["2021-04-25"]
    assert [(absence.kind.value, absence.span.minutes) for absence in entry.absences] == [("outage", 284)]
    assert_equal_to_a_backfill(followed, "2021-04-25", "2021-04-25T12:00")
    assert klines_of(day_of(followed, "2021-04-25")).num_rows == 1156


def test_nothing_is_lost_while_the_exchange_is_down_for_half_an_hour(begin: Begin) -> None:
    followed = begin("futures", "BTC/USDT", "UTC", "2024-05-15T12:00:05")
    live = followed.open()
    list(followed.minutes(live, "2024-05-15T12:05"))
    followed.running.exchange.faults = {"503": 1}
    down = []
    stopped = threading.Event()
    while followed.now_ms < at("2024-05-15T12:35"):
        # Its clock cannot be asked either: ours carries it on.
        down += list(live.tick(followed.now_ms // MINUTE_MS * MINUTE_MS, patience_s=0, stopped=stopped))
        followed.running.exchange.clock.advance(600)
    assert all("HTTP 503" in (update.error or "") for update in down)
    followed.running.exchange.faults = {"429": 0.3}
    list(followed.minutes(live, "2024-05-15T12:45"))
    followed.running.exchange.faults = {}
    list(followed.minutes(live, "2024-05-15T12:50"))
    live.close()
    store = store_of(followed.settings).open(store_of(followed.settings).find(Market.FUTURES, "BTC/USDT"))
    assert store.entries["2024-05-15"].rows == 12 * 60 + 49
    assert verify(store).findings == []


def test_an_exchange_far_away_hears_the_question_once_the_minute_is_over(begin: Begin) -> None:
    followed = begin("futures", "BTC/USDT", "UTC", "2024-05-15T00:10:53", speed=1, rtt_ms=280)
    live, heard = followed.open(), list[int]()

    def note(request: RequestInfo) -> None:
        if request.endpoint == "klines":
            heard.append(followed.now_ms)

    followed.running.exchange.hooks.append(note)
    assert live.await_minute(threading.Event()) == at("2024-05-15T00:10")
    assert followed.now_ms < at("2024-05-15T00:11")
    edge_ms = live.await_minute(threading.Event())
    assert edge_ms == at("2024-05-15T00:11")
    list(live.tick(edge_ms, patience_s=0, stopped=threading.Event()))
    live.close()
    assert min(heard) >= edge_ms + 200


class SetWrong(LiveSources):
    """Sources on a machine whose clock is wrong, by so much, until the exchange's is read again.

    Attributes:
        exchange: whose clock is the right one.
        step_ms: how far this machine's clock is ahead.
        stays_wrong: whether a reading of the exchange's clock does not help.
    """

    exchange: SimulatedExchange
    step_ms = 0
    stays_wrong = False

    def now_ms(self) -> int:
        return self.exchange.clock.now_ms() + self.step_ms

    def set_clock(self) -> int:
        if not self.stays_wrong:
            self.step_ms = 0
        return super().set_clock()


class Step(threading.Event):
    """A wait in which this machine's clock is set two hours ahead, once."""

    def __init__(self, sources: SetWrong) -> None:
        super().__init__()
        self._sources, self._step_ms = sources, 2 * 3_600_000

    def wait(self, timeout: float | None = None) -> bool:
        super().wait(timeout)
        self._sources.exchange.clock.advance(timeout or 0)
        self._sources.step_ms += self._step_ms
        self._step_ms = 0
        return False


def set_wrong(followed: Followed) -> tuple[LiveMarket, SetWrong]:
    root = followed.settings.root
    sources = SetWrong(followed.market, budget_of=budget_in(root), base_url=followed.running.url)
    sources.exchange = followed.running.exchange
    return LiveMarket(Store(root), sources, who="a test", manifest_interval_s=0), sources


def test_a_clock_that_is_set_ahead_while_the_minutes_end_is_awaited_is_read_again(begin: Begin) -> None:
    followed = begin("futures", "BTC/USDT", "UTC", "2024-05-15T00:10:58")
    live, sources = set_wrong(followed)
    assert live.await_minute(threading.Event(), longest_s=0.5) == at("2024-05-15T00:10")
    assert live.await_minute(Step(sources)) == at("2024-05-15T00:11")
    assert followed.now_ms >= at("2024-05-15T00:11")
    live.close()


def test_live_mode_goes_on_once_a_clock_that_was_ahead_is_right_again(begin: Begin) -> None:
    followed = begin("futures", "BTC/USDT", "UTC", "2024-05-15T00:10:05")
    live, sources = set_wrong(followed)
    sources.step_ms, sources.stays_wrong = 2 * 3_600_000, True
    assert live.await_minute(threading.Event(), longest_s=0.5) == at("2024-05-15T02:10")
    sources.stays_wrong = False
    assert live.await_minute(threading.Event(), longest_s=0.5) == at("2024-05-15T00:10")
    assert live.await_minute(threading.Event(), longest_s=0.5) is None
    followed.running.exchange.clock.advance(60)
    assert live.await_minute(threading.Event(), longest_s=0.5) == at("2024-05-15T00:11")
    live.close()


class FourAtOnce(LiveSources):
    """Sources that are worth four requests at once, however long the way to the exchange is."""

    def worth_asking_at_once(self) -> int:
        return 4


def test_an_exchange_that_falls_silent_is_asked_by_the_first_and_not_by_each_in_its_turn(begin: Begin) -> None:
    followed = begin("futures", "BTC/USDT", "UTC", "2024-05-15T00:10:05")
    url, root = followed.running.url, followed.settings.root
    sources = FourAtOnce(followed.market, budget_of=budget_in(root), base_url=url)
    live = LiveMarket(Store(root, manifest_interval_s=0), sources, who="a test", manifest_interval_s=0)
    pairs = [f"{base}/USDT" for base in ("BTC", "ETH", "BNB", "LTC", "ADA", "XRP", "XLM", "TRX", "ETC", "LINK", "SOL")]
    datasets = [replace(followed, pair=pair).load(followed.now_ms).dataset for pair in pairs]
    assert live.follow(datasets) == {}
    asked: set[str] = set()

    def fail(request: RequestInfo) -> str:
        asked.add(request.params.get("symbol", ""))
        return "503"

    edge_ms = live.await_minute(threading.Event(), longest_s=0.5)
    assert edge_ms is not None
    followed.running.exchange.hooks.append(fail)
    silent = list(live.tick(edge_ms, patience_s=0, stopped=threading.Event()))
    asked -= {""}
    # Each that asks does so for seconds; the others would add theirs to the tick's time, which has an end.
    assert 0 < len(asked) <= 4
    assert all("HTTP 503" in (update.error or "") for update in silent)
    assert sum("not tried" in (update.error or "") for update in silent) == len(pairs) - len(asked)
    followed.running.exchange.hooks.clear()
    answered = list(live.tick(edge_ms, patience_s=0, stopped=threading.Event()))
    live.close()
    assert [(update.added, update.error) for update in answered] == [(0, None)] * len(pairs)


def test_what_fails_for_all_datasets_alike_is_one_line_of_the_log(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    followed = begin("futures", "BTC/USDT", "UTC", "2024-05-15T00:10:05")
    live = followed.open()
    pairs = [f"{base}/USDT" for base in ("BTC", "ETH", "BNB", "LTC", "ADA")]
    assert live.follow(replace(followed, pair=pair).load(followed.now_ms).dataset for pair in pairs) == {}
    edge_ms = live.await_minute(threading.Event(), longest_s=0.5)
    assert edge_ms is not None
    followed.running.exchange.hooks.append(lambda request: "429" if request.endpoint == "klines" else None)
    refused = list(live.tick(edge_ms, patience_s=0, stopped=threading.Event()))
    live.close()
    assert all(update.error for update in refused)
    said = [record.getMessage() for record in caplog.records if record.name.endswith("live.failures")]
    assert len(said) < len(pairs), said
    assert [line for line in said if "/USDT and " in line and " more: " in line], said


def test_reasons_without_number_are_a_few_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    for number in range(300):
        failures.note(f"futures P{number}/USDT", "the disk is full" if number % 2 else f"no answer to\nP{number}")
    failures.log()
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "futures P1/USDT and 149 more: the disk is full"
    assert said[1] == "futures P0/USDT: no answer to P0"
    assert said[-1] == "141 more datasets failed in the same minute"
    caplog.clear()
    failures.log()
    assert not caplog.records


def test_values_that_the_exchange_changes_hours_later_are_corrected_when_the_day_is_confirmed(begin: Begin) -> None:
    followed = begin("futures", "ETH/USDT", "Europe/Zurich", "2024-05-15T21:40:05")
    followed.running.exchange.faults = {"provisional": 1}
    followed.running.exchange.faults.provisional_seconds = 4 * 3600
    live = followed.open()
    list(followed.minutes(live, "2024-05-15T22:06"))
    live.close()
    followed.running.exchange.faults = {}
    assert_equal_to_a_backfill(followed, "2024-05-15", "2024-05-15T12:00")
    store = store_of(followed.settings).open(store_of(followed.settings).find(Market.FUTURES, "ETH/USDT"))
    (revision,) = [one for one in store.revisions() if one.new_source == "rest"]
    assert (revision.day, revision.old_source) == ("2024-05-15", "live+rest")
    assert sum(span.minutes for span in revision.minutes) == 23


def test_rows_that_break_rules_do_not_stop_the_minutes_after_them(begin: Begin) -> None:
    followed = begin("spot", "XYZ/USDT", "UTC", "2024-05-15T12:00:05", scenario=with_others(bad_minutes()))
    live = followed.open()
    updates = list(followed.minutes(live, "2024-05-15T12:10"))
    live.close()
    assert [update.error for update in updates if update.error] == []
    assert [update.is_late for update in updates] == [minute == 5 for minute in range(10)]
    assert updates[-1].last_open_ms == at("2024-05-15T12:08")
    store = store_of(followed.settings).open(store_of(followed.settings).find(Market.SPOT, "XYZ/USDT"))
    entry = store.entries["2024-05-15"]
    assert entry.rows == 12 * 60 + 8
    assert [(flaw.open_time, flaw.rule, flaw.value, flaw.sources) for flaw in entry.flaws] == [
        (at("2024-05-15T12:02"), "trades is negative", -3, ("rest",))
    ]
    [malformed, _] = entry.absences
    assert (malformed.kind, malformed.span) == (Kind.MALFORMED, Span(at("2024-05-15T12:04"), at("2024-05-15T12:05")))
    assert malformed.evidence[0].startswith("rest: low is not a price: 1715774640000,")
    assert verify(store).ok


def test_a_pair_of_spot_that_nobody_trades_for_a_while_costs_one_request_a_minute(begin: Begin) -> None:
    """After its end spot has no klines, so that flat ones say nothing of it."""
    rows = [flat_row(at("2024-05-15T12:00") + minute * MINUTE_MS) for minute in range(-5, 15)]
    quiet = {"spot": {"XYZUSDT": {"first": "2024-04-01T00:00Z", "price": 50, "rows": rows}}}
    followed = begin("spot", "XYZ/USDT", "UTC", "2024-05-15T12:00:05", scenario=with_others(quiet))
    live, asked = followed.open(), list[str]()
    followed.running.exchange.hooks.append(lambda request: asked.append(request.endpoint))
    updates = list(followed.minutes(live, "2024-05-15T12:10"))
    live.close()
    assert [update.added for update in updates] == [0, *[1] * 9]
    # Two more tell the pair's life, once.
    assert asked.count("klines") == len(updates) + 2, asked


def quiet_since_noon(**more: Any) -> dict[str, Any]:
    return {"first": "2024-04-01T00:00Z", "price": 50, "flat": [["2024-05-15T12:03Z", "2024-05-15T13:00Z"]], **more}


def test_in_a_halt_of_futures_each_pair_takes_a_request_a_minute_and_all_of_them_one_list(begin: Begin) -> None:
    pairs = {f"{base}USDT": quiet_since_noon() for base in ("XXA", "XXB", "XXC")}
    followed = begin("futures", "XXA/USDT", "UTC", "2024-05-15T12:00:05", scenario=with_others({"futures": pairs}))
    names = ["XXA/USDT", "XXB/USDT", "XXC/USDT"]
    datasets = [replace(followed, pair=pair).load(followed.now_ms).dataset for pair in names]
    live, asked = live_market_of(followed.settings, Market.FUTURES, "a test"), list[RequestInfo]()
    assert live.follow(datasets) == {}
    followed.running.exchange.hooks.append(asked.append)
    updates = list(followed.minutes(live, "2024-05-15T12:12"))
    live.close()
    assert [update.error for update in updates if update.error] == []
    assert [update.last_open_ms for update in updates[-3:]] == [at("2024-05-15T12:10")] * 3
    endpoints = [request.endpoint for request in asked]
    assert endpoints.count("exchangeInfo") == 1
    # Two more tell the life of each pair, once.
    assert endpoints.count("klines") == len(updates) + 2 * len(names)


def test_of_a_contract_that_is_settled_meanwhile_no_flat_kline_is_stored(begin: Begin) -> None:
    delivered = at("2024-05-15T12:03")
    row = [delivered, *["50.0"] * 4, "9.5", delivered + 59_999, "475.0", 7, "4.5", "225.0", "0"]
    pairs = {
        "ENDUSDT": quiet_since_noon(deliveryDate=delivered),
        "LATEUSDT": quiet_since_noon(deliveryDate=delivered, rows=[row]),
    }
    followed = begin("futures", "END/USDT", "UTC", "2024-05-15T12:00:05", scenario=with_others({"futures": pairs}))
    datasets = [replace(followed, pair=pair).load(followed.now_ms).dataset for pair in ("END/USDT", "LATE/USDT")]
    live = live_market_of(followed.settings, Market.FUTURES, "a test")
    assert live.follow(datasets) == {}
    updates = list(followed.minutes(live, "2024-05-15T12:10"))
    live.close()
    assert [update.error for update in updates if update.error] == []
    assert {update.name: (update.has_ended, update.last_open_ms) for update in updates} == {
        "futures END/USDT": (True, delivered - MINUTE_MS),
        # The minute of the settlement has trades, as it may.
        "futures LATE/USDT": (True, delivered),
    }
    store = store_of(followed.settings)
    assert [store.open(one).entries["2024-05-15"].last_open_time for one in datasets] == [
        delivered - MINUTE_MS,
        delivered,
    ]


def flat_row(open_time: int) -> list[Any]:
    return [open_time, *["50.0"] * 4, "0.0", open_time + 59_999, "0.0", 0, "0.0", "0.0", "0"]


def bad_minutes() -> dict[str, Any]:
    """A pair of which a minute has a flaw, and another one a row that cannot be stored."""

    def row(open_time: int, low: str, trades: int) -> list[Any]:
        prices = ["50.0", "50.4", low, "50.1"]
        return [open_time, *prices, "9.5", open_time + 59_999, "475.0", trades, "4.5", "225.0", "0"]

    rows = [row(at("2024-05-15T12:02"), "49.8", -3), row(at("2024-05-15T12:04"), "0.0", 7)]
    return {"spot": {"XYZUSDT": {"first": "2024-04-01T00:00Z", "price": 50, "rows": rows}}}


def test_of_two_only_one_follows_a_dataset_and_the_other_can_say_who(begin: Begin) -> None:
    followed = begin("futures", "BTC/USDT", "UTC", "2024-05-15T12:00:05")
    first = followed.open("the first")
    second = live_market_of(followed.settings, Market.FUTURES, "the second")
    dataset = store_of(followed.settings).find(Market.FUTURES, "BTC/USDT")
    assert dataset is not None
    (said,) = second.follow([dataset]).values()
    assert "the first (process " in said
    assert second.followed == []
    # Each tick tries it again, and what was made meanwhile must not be kept for ever.
    frozen, passing = gc.get_freeze_count(), [[number] for number in range(100_000)]
    second.follow([dataset])
    assert gc.get_freeze_count() - frozen < len(passing)
    assert list(second.follow([dataset], within_s=0.1).values()) == [said]
    released = threading.Timer(0.5, first.follow, [[]])
    released.start()
    assert second.follow([dataset], within_s=30) == {}
    released.join()
    first.close()
    second.close()


def test_a_dataset_that_is_marked_is_followed_from_the_next_tick_on(begin: Begin) -> None:
    followed = begin("futures", "BTC/USDT", "UTC", "2024-05-15T12:00:05")
    live = live_market_of(followed.settings, Market.FUTURES, "a test")
    assert live.marked() == []
    store = store_of(followed.settings)
    store.open(store.find(Market.FUTURES, "BTC/USDT")).mark_live(True)
    assert [dataset.name for dataset in live.marked()] == ["futures BTC/USDT"]
    (followed.settings.root / "binanceusdm" / "BTCUSDT" / "1m" / "dataset.json").write_text("{")
    assert live.marked() == []
    live.close()


def test_what_is_missing_of_days_is_due_and_then_the_tick_goes_on(begin: Begin) -> None:
    followed = begin("futures", "BTC/USDT", "UTC", "2024-05-15T12:00:05")
    live = followed.open()
    followed.running.exchange.clock.advance(2 * 86_400)
    (update,) = live.tick(at("2024-05-17T12:00"), patience_s=0, stopped=threading.Event())
    assert update.is_behind
    (due,) = live.due_days()
    assert (due.reason, due.first.key, due.last.key) == (Reason.MISSING, "2024-05-15", "2024-05-17")
    for day in ("2024-05-15T12:00", "2024-05-16T12:00", "2024-05-17T12:00"):
        followed.load(at(day))
    assert [one.reason for one in live.due_days()] == [Reason.TO_ARCHIVE]
    updates = list(followed.minutes(live, "2024-05-17T12:03"))
    assert [update.added for update in updates] == [0, 1, 1]
    live.close()
