"""Rows that break rules, over HTTP: what is stored of them, who is named, and what each costs in requests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS, parse_zone
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.proof.crosscheck import crosscheck
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.core.sources.conftest import OpenExchange
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange, step
from market_data_pipeline_tests.support import at, is_page, record, span, strike

DAY = span("2024-05-02", "2024-05-03")
MINUTE = at("2024-05-02T03:00")
THAT_MINUTE = Span(MINUTE, MINUTE + MINUTE_MS)
PAIR = "XYZ/USDT"

Row = list[Any]
Play = Callable[..., RunningExchange]


def row(open_time: int = MINUTE, **fields: Any) -> Row:
    """A good row as REST sends it, with some of its fields replaced."""
    usual = {
        "open_time": open_time, "open": "50.0", "high": "50.4", "low": "49.8", "close": "50.1", "volume": "9.5",
        "close_time": open_time + 59_999, "quote_volume": "475.0", "trades": 7, "taker_base_volume": "4.5",
        "taker_quote_volume": "225.0", "ignore": "0",
    }  # fmt: skip
    return list((usual | fields).values())


GOOD = row()
FLAWED = row(taker_base_volume="9.50000001")
OTHERWISE_FLAWED = row(taker_base_volume="9.7")
UNPRICED = row(low="0.00000000")
RULE = "taker_base_volume is above volume"


@pytest.fixture
def play() -> Iterator[Play]:
    """Play one spot pair that the archive has, too; `archive_rows` are the archive's where they are not REST's."""
    with ExitStack() as stack:

        def played(rows: list[Row], archive_rows: list[Row] | None = None, **pair: Any) -> RunningExchange:
            return stack.enter_context(scenario_exchange(scenario(rows, archive_rows, **pair)))

        yield played


def scenario(rows: list[Row], archive_rows: list[Row] | None = None, **pair: Any) -> dict[str, Any]:
    lives = {"first": "2024-04-01T00:00Z", "price": 50, "rows": rows, "archive_rows": archive_rows or [], **pair}
    return {"now": "2024-05-06T12:00Z", "spot": {"XYZUSDT": lives}}


def made(root: Path, zone: str = "UTC") -> DatasetStore:
    return Store(root).create(Market.SPOT, PAIR, zone=parse_zone(zone), start=date(2024, 5, 1))


def load(store: DatasetStore, source: KlineSource, window: Span = DAY) -> DayResult:
    [result] = backfill(store, source, window)
    return result


def said(result: DayResult) -> list[tuple[int, str, float | int, tuple[str, ...]]]:
    assert result.entry
    return [(flaw.open_time, flaw.rule, flaw.value, flaw.sources) for flaw in result.entry.flaws]


@pytest.mark.parametrize(
    ("of_rest", "of_archive", "value", "sources"),
    [
        (FLAWED, FLAWED, 9.50000001, ("archive", "rest")),
        (OTHERWISE_FLAWED, FLAWED, 9.7, ("rest",)),
        (UNPRICED, FLAWED, 9.50000001, ("archive",)),
        (FLAWED, UNPRICED, 9.50000001, ("rest",)),
        (FLAWED, GOOD, 4.5, None),
        (GOOD, FLAWED, 4.5, None),
        (UNPRICED, GOOD, 4.5, None),
        (GOOD, UNPRICED, 4.5, None),
    ],
)
def test_of_two_sources_the_better_row_is_stored_and_a_flaw_names_who_has_it(
    play: Play, exchange: OpenExchange, root: Path, of_rest: Row, of_archive: Row, value: float, sources: tuple[str]
) -> None:
    store = made(root)
    result = load(store, exchange(play([of_rest], [of_archive]), "auto", "spot", PAIR))
    assert (result.outcome, result.error) == (Outcome.LOADED, None)
    assert result.entry
    assert (result.entry.rows, result.entry.absences) == (1440, ())
    klines = store.read(store.dataset.day("2024-05-02")).klines
    assert klines.column("taker_base_volume")[180].as_py() == value
    assert said(result) == ([] if sources is None else [(MINUTE, RULE, value, sources)])
    assert verify(store).ok


@pytest.mark.parametrize(
    ("of_rest", "of_archive", "evidence"),
    [
        (UNPRICED, UNPRICED, ["archive, rest: low is not a price: 1714618800000,50.0,50.4,0.0,50.1,"]),
        (
            UNPRICED,
            row(low="0.0", volume="11"),
            ["archive: low is not a price: 1714618800000,", "rest: low is not a price: 1714618800000,"],
        ),
        (
            row(trades=None),
            row(trades="0x10"),
            ["archive: trades is not a whole number: 17146188", "rest: trades is not a whole number: [17146188"],
        ),
        (row(close="nan"), row(close="1e400"), ["archive: close is not a number", "rest: close is not a number"]),
        (row(open=True), row(open=""), ["archive: open is not a number", "rest: open is not a number"]),
    ],
)
def test_a_minute_that_has_no_row_that_can_be_stored_is_malformed_with_the_rows_as_evidence(
    play: Play, exchange: OpenExchange, root: Path, of_rest: Row, of_archive: Row, evidence: list[str]
) -> None:
    store = made(root)
    result = load(store, exchange(play([of_rest], [of_archive]), "auto", "spot", PAIR))
    assert (result.outcome, result.error) == (Outcome.LOADED, None)
    assert result.entry
    assert (result.entry.rows, result.entry.flaws, result.entry.complete) == (1439, (), True)
    [absence] = result.entry.absences
    assert (absence.kind, absence.span) == (Kind.MALFORMED, THAT_MINUTE)
    assert len(absence.evidence) == len(evidence)
    assert all(line.startswith(start) for line, start in zip(absence.evidence, evidence, strict=True))
    assert verify(store).findings == []


@pytest.mark.parametrize("name", ["rest", "archive"])
@pytest.mark.parametrize("odd", [FLAWED, UNPRICED])
def test_one_source_alone_is_the_one_that_is_named(
    play: Play, exchange: OpenExchange, root: Path, name: str, odd: Row
) -> None:
    store = made(root)
    running = play([odd if name == "rest" else GOOD], [odd if name == "archive" else GOOD])
    result = load(store, exchange(running, name, "spot", PAIR))
    assert result.entry
    if odd is FLAWED:
        assert said(result) == [(MINUTE, RULE, 9.50000001, (name,))]
    else:
        [absence] = result.entry.absences
        assert [line.partition(":")[0] for line in absence.evidence] == [name]
    assert verify(store).ok


@pytest.mark.parametrize("zone", ["UTC", "Europe/Zurich", "+06:00"])
@pytest.mark.parametrize("name", ["auto", "rest", "archive"])
def test_rows_off_the_minute_are_absent_by_their_minutes_and_the_rest_of_the_day_is_stored(
    play: Play, exchange: OpenExchange, root: Path, name: str, zone: str
) -> None:
    first, last = at("2024-05-02T05:00"), at("2024-05-02T07:00")
    rows = [row(time + 14_789) for time in range(first, last, MINUTE_MS)]
    halt = ["2024-05-02T03:00Z", "2024-05-02T05:00Z"]
    running = play(rows, gaps=[["2024-05-02T03:00Z", "2024-05-02T07:00Z"]])
    others = {pair: {"first": "2017-08-17T04:00Z", "gaps": [halt]} for pair in ("BTCUSDT", "ETHUSDT")}
    told = scenario(rows, gaps=[["2024-05-02T03:00Z", "2024-05-02T07:00Z"]])
    step(running, {**told, "spot": {**told["spot"], **others}})
    store = made(root, zone)
    days = list(backfill(store, exchange(running, name, "spot", PAIR), span("2024-05-01", "2024-05-04")))
    assert {result.outcome for result in days} == {Outcome.LOADED}
    absences = [
        (absence.kind, absence.span)
        for result in days
        for absence in (result.entry.absences if result.entry else ())
        if absence.kind is not Kind.NOT_REQUESTED
    ]
    assert absences == [
        (Kind.OUTAGE, span("2024-05-02T03:00", "2024-05-02T05:00")),
        (Kind.MALFORMED, span("2024-05-02T05:00", "2024-05-02T07:00")),
    ]
    assert sum(result.entry.rows for result in days if result.entry) == 3 * 1440 - 240
    [evidence] = [a.evidence for r in days if r.entry for a in r.entry.absences if a.kind is Kind.MALFORMED]
    assert len(evidence) == 1
    assert "120 rows, first open_time is not on the minute grid: 1714626014789,50.0," in evidence[0]
    assert verify(store).ok


def test_a_day_of_nothing_but_rows_that_cannot_be_stored_has_its_chunk(
    play: Play, exchange: OpenExchange, root: Path
) -> None:
    rows = [row(time, open="0", low="0") for time in range(DAY.start_ms, DAY.end_ms, MINUTE_MS)]
    store = made(root)
    result = load(store, exchange(play(rows), "auto", "spot", PAIR))
    assert result.entry
    assert (result.outcome, result.entry.rows) == (Outcome.LOADED, 0)
    assert [(absence.kind, absence.span) for absence in result.entry.absences] == [(Kind.MALFORMED, DAY)]
    assert verify(store).ok


@pytest.mark.parametrize("zone", ["UTC", "+06:00"])
@pytest.mark.parametrize(
    ("close_time", "gap", "flaw"),
    [
        (MINUTE + 14_838, True, None),
        (MINUTE + 14_838, False, "close_time is not the minute's last ms"),
        (MINUTE + 7_200_999, True, "close_time is outside the minute"),
        (MINUTE - 1, False, "close_time is outside the minute"),
    ],
)
def test_a_close_time_is_cut_by_a_halt_or_a_flaw(
    play: Play, exchange: OpenExchange, root: Path, close_time: int, gap: bool, flaw: str | None, zone: str
) -> None:
    halt = [["2024-05-02T03:01Z", "2024-05-02T05:00Z"]] if gap else []
    told = scenario([row(close_time=close_time)], gaps=halt)
    others = {pair: {"first": "2017-08-17T04:00Z", "gaps": halt} for pair in ("BTCUSDT", "ETHUSDT")}
    running = play([])
    step(running, {**told, "spot": {**told["spot"], **others}})
    store = made(root, zone)
    window = DAY if zone == "UTC" else span("2024-05-01T18:00", "2024-05-02T18:00")
    result = load(store, exchange(running, "auto", "spot", PAIR), window)
    assert result.entry
    assert result.entry.rows == (1321 if gap else 1440)
    assert said(result) == ([] if flaw is None else [(MINUTE, flaw, close_time, ("archive", "rest"))])
    assert verify(store).ok


# --- what it costs


@pytest.mark.parametrize(("flaws", "spans"), [(1, {1}), (3, {1}), (20, {440, 1000})])
def test_rest_is_asked_for_exactly_the_flawed_minutes_and_for_the_day_where_they_are_many(
    play: Play, exchange: OpenExchange, root: Path, flaws: int, spans: set[int]
) -> None:
    minutes = range(MINUTE, MINUTE + flaws * 7 * MINUTE_MS, 7 * MINUTE_MS)
    running = play([], [row(minute, taker_base_volume="9.6") for minute in minutes])
    source, seen = exchange(running, "auto", "spot", PAIR), record(running.exchange)
    result = load(made(root), source)
    assert said(result) == []
    pages = [request for request in seen if is_page(request)]
    assert {int(request.params["limit"]) for request in pages} == spans
    assert len(pages) == (flaws if spans == {1} else 2)


def test_a_row_that_both_have_flawed_costs_two_requests_and_a_second_load_none(
    play: Play, exchange: OpenExchange, root: Path
) -> None:
    running = play([FLAWED])
    store, seen = made(root), record(running.exchange)
    load(store, exchange(running, "auto", "spot", PAIR))
    assert len([request for request in seen if is_page(request)]) == 2
    seen.clear()
    assert load(store, exchange(running, "auto", "spot", PAIR)).outcome is Outcome.UNCHANGED
    assert not [request for request in seen if is_page(request) or request.area == "archive"]


def test_a_row_that_is_bad_in_one_answer_of_rest_is_asked_for_again(
    play: Play, exchange: OpenExchange, root: Path
) -> None:
    running = play([])
    strike(running.exchange, "off_grid")
    result = load(made(root), exchange(running, "rest", "spot", PAIR))
    assert result.entry
    assert (result.entry.rows, result.entry.flaws, result.entry.absences) == (1440, (), ())


def test_the_same_rows_give_the_same_bytes_from_any_source_that_has_them(
    play: Play, exchange: OpenExchange, tmp_path: Path
) -> None:
    found = []
    for name in ("one", "two"):
        store = made(tmp_path / name)
        load(store, exchange(play([FLAWED, row(MINUTE + MINUTE_MS, low="0")]), "auto", "spot", PAIR))
        found.append(store.chunk_path(store.dataset.day("2024-05-02")).read_bytes())
    assert found[0] == found[1]


def test_a_flawed_row_of_the_archive_is_kept_where_rest_does_not_answer_for_the_pair(
    play: Play, exchange: OpenExchange, root: Path
) -> None:
    running = play([], [FLAWED])
    source = exchange(running, "auto", "spot", PAIR)
    source.life()
    refused = [400, {"code": -1122, "msg": "Invalid symbol status."}]
    step(running, scenario([], [FLAWED], klines_error=refused))
    result = load(made(root), source)
    assert result.outcome is Outcome.LOADED
    assert said(result) == [(MINUTE, RULE, 9.50000001, ("archive",))]


# --- later loads


def test_a_flaw_that_the_exchange_corrects_is_gone_after_a_load_of_stored_klines(
    play: Play, exchange: OpenExchange, root: Path
) -> None:
    running, store = play([FLAWED, row(MINUTE + MINUTE_MS, low="0")]), made(root)
    load(store, exchange(running, "auto", "spot", PAIR))
    step(running, scenario([GOOD]))
    [result] = backfill(store, exchange(running, "auto", "spot", PAIR), DAY, refetch=True)
    assert result.entry
    assert (result.entry.rows, result.entry.flaws, result.entry.absences) == (1440, (), ())
    assert result.revision
    assert result.revision.minutes == (THAT_MINUTE,)
    assert verify(store).findings == []


def test_a_row_that_cannot_be_stored_takes_no_stored_klines_place(
    play: Play, exchange: OpenExchange, root: Path
) -> None:
    running, store = play([GOOD]), made(root)
    load(store, exchange(running, "rest", "spot", PAIR))
    step(running, scenario([UNPRICED]))
    [result] = backfill(store, exchange(running, "rest", "spot", PAIR), DAY, refetch=True)
    assert (result.error, result.revision) == (None, None)
    assert result.entry
    assert (result.entry.rows, result.entry.absences) == (1440, ())


def test_flaws_of_minutes_that_are_not_loaded_again_stay_with_those_who_have_them(
    play: Play, exchange: OpenExchange, root: Path
) -> None:
    running, store = play([FLAWED, row(MINUTE + 600 * MINUTE_MS, taker_base_volume="9.6")]), made(root)
    load(store, exchange(running, "auto", "spot", PAIR), span("2024-05-02", "2024-05-02T06:00"))
    result = load(store, exchange(running, "rest", "spot", PAIR))
    assert [flaw[3] for flaw in said(result)] == [("archive", "rest"), ("rest",)]


def test_a_chunk_stays_where_a_later_load_asks_fewer_sources(play: Play, exchange: OpenExchange, root: Path) -> None:
    running, store = play([FLAWED]), made(root)
    first = load(store, exchange(running, "auto", "spot", PAIR))
    [result] = backfill(store, exchange(running, "rest", "spot", PAIR), DAY, refetch=True)
    assert first.entry
    assert result.entry
    assert result.entry.sha256 == first.entry.sha256


def test_the_worse_row_of_the_other_source_is_no_difference_and_other_values_are(
    play: Play, exchange: OpenExchange, root: Path
) -> None:
    later = MINUTE + 60 * MINUTE_MS
    running, store = play([GOOD, row(later)], [FLAWED, row(later, low="0")]), made(root)
    load(store, exchange(running, "auto", "spot", PAIR))
    day = [store.dataset.day("2024-05-02")]
    archive = exchange(running, "archive", "spot", PAIR)
    assert crosscheck(store, archive, against="archive", days=day).ok
    step(running, scenario([GOOD, row(later)], [row(close="50.2"), row(later, low="0")]))
    result = crosscheck(store, exchange(running, "archive", "spot", PAIR), against="archive", days=day)
    assert [(found.open_time, found.field) for found in result.differences] == [(MINUTE, "close")]


def test_a_day_of_another_order_or_with_rows_of_other_days_is_still_refused(
    play: Play, exchange: OpenExchange, root: Path
) -> None:
    lines = [",".join(map(str, row(time))) for time in range(DAY.start_ms, DAY.end_ms, MINUTE_MS)]
    swapped = "\n".join([*lines[1:2], lines[0], *lines[2:]]) + "\n"
    running = play([], archive_text={"2024-05-02": swapped})
    result = load(made(root), exchange(running, "archive", "spot", PAIR))
    assert result.outcome is Outcome.FAILED
    assert "out of order or doubled" in str(result.error)


def test_absences_of_every_kind_stay_apart(play: Play, exchange: OpenExchange, root: Path) -> None:
    running, store = play([row(MINUTE + at_minute * MINUTE_MS, low="0") for at_minute in range(0, 60, 2)]), made(root)
    result = load(store, exchange(running, "auto", "spot", PAIR))
    assert result.entry
    assert len(result.entry.absences) == 30
    assert {absence.kind for absence in result.entry.absences} == {Kind.MALFORMED}
    assert sum(len(line) for absence in result.entry.absences for line in absence.evidence) < 6000
    assert all(isinstance(absence, Absence) and absence.evidence for absence in result.entry.absences)
    assert len(open_times(store.read(store.dataset.day("2024-05-02")).klines)) == 1410
