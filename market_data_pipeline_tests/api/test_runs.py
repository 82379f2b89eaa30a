"""Runs that HTTP requests start and a real daemon executes: backfill, verify, repair, combine, cancel, live."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from market_data_pipeline_tests.api.conftest import Api
from market_data_pipeline_tests.support import dataset_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("api")]
PAIR = {"market": "spot", "pair": "SIM02/USDT"}
ZURICH = {"tz": "Europe/Zurich"}


@pytest.fixture(scope="module")
def loaded(api: Api) -> Api:
    """A week of a pair that the code location does not have before."""
    request = {**PAIR, **ZURICH, "start": "2024-02-01", "end": "2024-02-08"}
    started = api.post("/backfill", json=request)
    assert started.status_code == 202, started.text
    body = started.json()
    assert body["dataset"] == {**PAIR, **ZURICH}
    assert (body["days"], body["first_day"], body["last_day"]) == (7, "2024-02-01", "2024-02-07")
    ended = api.ended(started)
    assert ended["status"] == "success", ended
    assert (ended["what"], ended["days_done"], ended["days_asked"], ended["rows"]) == ("backfill", 7, 7, 7 * 1440)
    assert ended["error"] is None
    assert {check["name"] for check in ended["checks"] if check["passed"]} >= {
        "klines_keep_schema",
        "chunks_match_manifest",
    }
    return api


def events_of(url: str) -> Iterator[tuple[str, Any]]:
    with requests.get(url, stream=True, timeout=120) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        event = ""
        for line in answer.iter_lines(decode_unicode=True):
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield event, json.loads(line.removeprefix("data: "))


def test_the_events_of_a_backfill_show_its_progress_and_end(loaded: Api) -> None:
    started = loaded.post("/backfill", json={**PAIR, **ZURICH, "start": "2024-02-08", "end": "2024-02-12"})
    events = list(events_of(loaded.url + started.json()["events_url"]))
    assert {name for name, _ in events[:-1]} <= {"progress"}
    assert events[-1][0] == "end"
    assert (events[-1][1]["status"], events[-1][1]["days_done"]) == ("success", 4)
    assert events[-1][1]["url"] == f"{loaded.ui.url}/runs/{started.json()['run_id']}"


def test_the_fallback_is_in_the_answer(loaded: Api) -> None:
    request = {"market": "spot", "pair": "NOSUCH/USDT", "start": "2024-03-01", "end": "2024-03-02"}
    started = loaded.post("/backfill", json=request)
    assert started.json()["dataset"]["pair"] == "BTC/USDT"
    assert "does not list NOSUCH/USDT" in started.json()["warnings"][0]
    assert loaded.ended(started)["status"] == "success"
    refused = loaded.post("/backfill", json=request | {"strict_pair": True})
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert "does not list NOSUCH/USDT" in refused.json()["detail"]


def test_a_load_of_many_pairs_is_one_run(loaded: Api) -> None:
    universe = '[universe.few]\nmarket = "spot"\npairs = ["SIM0[3-4]/USDT"]\nstart = "2024-02-01"\n'
    (loaded.root / "market-data.toml").write_text(universe, encoding="utf-8")
    request = {"universe": "few", "pairs": ["SIM05USDT", "!SIM04/USDT"], "end": "2024-02-04"}
    started = loaded.post("/backfill", json=request)
    assert started.status_code == 202, started.text
    assert (started.json()["pairs"], started.json()["dataset"]) == (2, None)
    ended = loaded.ended(started)
    assert ended["status"] == "success", ended
    assert (ended["what"], ended["pairs_asked"], ended["pairs_loaded"]) == ("backfill", 2, 2)
    assert (ended["days_done"], ended["rows"], ended["days_asked"]) == (6, 6 * 1440, None)
    assert {check["asset"].split("/")[1] for check in ended["checks"]} == {"SIM03USDT", "SIM05USDT"}
    stored = {each["pair"]: each["rows"] for each in loaded.get("/status").json()}
    assert (stored["SIM03/USDT"], stored["SIM05/USDT"]) == (3 * 1440, 3 * 1440)


def test_many_pairs_are_verified_repaired_and_combined_in_one_run_each(loaded: Api) -> None:
    (loaded.root / "market-data.toml").write_text(
        '[universe.two]\nmarket = "spot"\npairs = ["SIM06/USDT", "SIM07/USDT"]\n', encoding="utf-8"
    )
    request = {"universe": "two", "start": "2024-02-01", "end": "2024-02-03"}
    assert loaded.ended(loaded.post("/backfill", json=request))["status"] == "success"
    verified = loaded.post("/verify", json={"market": "spot", "pairs": ["SIM0[67]*"]})
    assert verified.json()["pairs"] == 2, verified.text
    ended = loaded.ended(verified)
    assert (ended["status"], ended["what"], ended["pairs_asked"]) == ("success", "verify", 2), ended
    assert {check["asset"].split("/")[1] for check in ended["checks"]} == {"SIM06USDT", "SIM07USDT"}
    (path,) = dataset_folder(loaded.root, "spot", "SIM07USDT").glob("chunks/*_2024-02-02.parquet")
    good = path.read_bytes()
    path.write_bytes(good[:-100] + bytes(100))
    repaired = loaded.ended(loaded.post("/verify", json={"universe": "two", "repair": True}))
    assert (repaired["status"], path.read_bytes()) == ("success", good), repaired
    combined = loaded.ended(loaded.post("/combine", params={"universe": "two"}))
    assert (combined["status"], combined["what"], combined["pairs_loaded"]) == ("success", "combine", 2), combined
    for token in ("SIM06USDT", "SIM07USDT"):
        assert list(dataset_folder(loaded.root, "spot", token).glob("combined/*.parquet"))


@pytest.mark.parametrize("route", ["/verify", "/combine"])
@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ({"universe": "nosuch"}, "no universe 'nosuch'"),
        ({"pairs": ["NOSUCH*"]}, "'NOSUCH*' matches no pair"),
        ({"pairs": ["SIM02/USDT", "SIM02USDT"]}, "named twice"),
        ({"pairs": ["SIM02/USDT", "SIM99/USDT"]}, "there is no spot SIM99/USDT"),
    ],
)
def test_a_request_about_many_that_cannot_be_is_refused(
    loaded: Api, route: str, named: dict[str, Any], problem: str
) -> None:
    options: dict[str, Any] = {"params" if route == "/combine" else "json": {"market": "spot", **named}}
    refused = loaded.post(route, **options)
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert problem in refused.json()["detail"]


@pytest.mark.parametrize(
    ("request_body", "problem"),
    [
        ({"universe": "nosuch"}, "no universe 'nosuch'"),
        ({"pairs": ["NOSUCH*"]}, "'NOSUCH*' matches no pair"),
        ({"pairs": ["SIM03/USDT", "SIM03USDT"]}, "named twice"),
        ({"pairs": ["SIM03/USDT"], "pair": "SIM04/USDT"}, "pair names one pair"),
        ({"pairs": ["SIM03/USDT"], "start": "2016-01-01", "end": "2017-01-01"}, "spot has klines from"),
        ({"pairs": []}, "pairs: "),
    ],
)
def test_a_load_of_many_that_cannot_be_is_refused(api: Api, request_body: dict[str, Any], problem: str) -> None:
    before = {path for path in api.root.glob("binance*/*")}
    refused = api.post("/backfill", json={"market": "spot", **request_body})
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert problem in refused.json()["detail"]
    assert {path for path in api.root.glob("binance*/*")} == before


def test_damage_is_found_and_repaired(loaded: Api) -> None:
    (path,) = dataset_folder(loaded.root, "spot", "SIM02USDT").glob("chunks/*_2024-02-03.parquet")
    good = path.read_bytes()
    path.write_bytes(good[:-100] + bytes(100))
    verified = loaded.ended(loaded.post("/verify", json=PAIR))
    failed = [check for check in verified["checks"] if not check["passed"]]
    assert [check["name"] for check in failed], verified
    assert all("2024-02-03" in check["description"] for check in failed)
    repaired = loaded.ended(loaded.post("/verify", json={**PAIR, "repair": True}))
    assert repaired["status"] == "success", repaired
    assert repaired["results"]["run"]["mended"] == 1
    assert path.read_bytes() == good
    proved = loaded.ended(loaded.post("/verify", json=PAIR))
    assert all(check["passed"] for check in proved["checks"])


def test_all_datasets_are_verified_where_none_is_named(loaded: Api) -> None:
    proved = loaded.ended(loaded.post("/verify", json={}))
    assert proved["what"] == "verify"
    assert any("SIM02USDT" in check["asset"] for check in proved["checks"])


@pytest.mark.parametrize("named", [PAIR, {}, {"market": "spot", "pairs": ["SIM02*"]}])
def test_report_tells_dagster_nothing_that_it_knows(loaded: Api, named: dict[str, Any]) -> None:
    # Of the other datasets of this module Dagster may lack a day.
    loaded.ended(loaded.post("/report", json=named))
    ended = loaded.ended(loaded.post("/report", json=named))
    assert (ended["what"], ended["status"], ended["days_done"]) == ("report", "success", 0), ended


def test_report_refuses_what_is_not_stored(loaded: Api) -> None:
    refused = loaded.post("/report", json={"market": "spot", "pair": "NOSUCH/USDT"})
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert "there is no spot NOSUCH/USDT" in refused.json()["detail"]


def test_combine(loaded: Api) -> None:
    ended = loaded.ended(loaded.post("/combine", params={**PAIR, "from_index": "1", "to_index": "1500"}))
    assert ended["status"] == "success", ended
    assert ended["results"]["combined"]["outcome"] == "built"
    nothing = loaded.post("/combine", params={**PAIR, "from_index": "900000", "to_index": "900001"})
    assert (nothing.status_code, nothing.headers["content-type"]) == (422, "application/problem+json")
    for which in (PAIR, {"market": "spot", "pairs": ["BTC/USDT"]}):
        refused = loaded.post("/combine", params={**which, "from_index": "5", "to_index": "3"})
        assert refused.status_code == 422
        assert refused.json()["detail"].startswith("from index 5 is after to index 3")


def test_a_run_is_canceled_and_keeps_what_it_finished(loaded: Api) -> None:
    started = loaded.post("/backfill", json={**PAIR, "start": "2020-02-01", "end": "2024-01-01", "source": "rest"})
    run = started.json()["status_url"]
    for name, now in events_of(loaded.url + run + "/events"):
        if name == "progress" and now["days_done"] > 5:
            assert loaded.post(f"{run}/cancel").status_code == 202
            break
    ended = loaded.ended(started)
    assert ended["status"] == "canceled", ended
    assert 5 < ended["days_done"] < ended["days_asked"]
    assert loaded.post(f"{run}/cancel").status_code == 409


def test_live_makes_the_dataset_and_turns_the_sensor_on(loaded: Api) -> None:
    pair = {"market": "futures", "pair": "SIM03/USDT"}
    answer = loaded.post("/live", params={**pair, "tz": "+05:30"})
    assert answer.status_code == 202, answer.text
    assert answer.json() == {
        "dataset": {**pair, "tz": "+05:30"},
        "live": True,
        "sensor": "binanceusdm_live",
        "warnings": [],
    }
    (status,) = loaded.get("/status", params=pair).json()
    assert status["live"] is True
    assert loaded.delete("/live", params=pair).json()["live"] is False
    assert loaded.get("/status", params=pair).json()[0]["live"] is False


def test_live_mode_of_many_pairs(loaded: Api) -> None:
    (loaded.root / "market-data.toml").write_text(
        '[universe.live]\nmarket = "futures"\npairs = ["SIM04/USDT", "SIM05/USDT"]\nzone = "+05:30"\n', encoding="utf-8"
    )
    at_half_past = {"market": "futures", "tz": "+05:30"}
    answer = loaded.post("/live", params={"universe": "live"})
    assert answer.status_code == 202, answer.text
    new = [{**at_half_past, "pair": f"SIM0{n}/USDT", "was_live": False} for n in (4, 5)]
    assert answer.json() == {"pairs": 2, "live": True, "sensor": "binanceusdm_live", "datasets": new}
    # Runs about them start at once: the code location has them.
    verified = loaded.post("/verify", json={"market": "futures", "pairs": ["SIM04/USDT", "SIM05/USDT"]})
    assert loaded.ended(verified)["status"] == "success"

    words = {"market": "futures", "pair": ["SIM0[45]*", "SIM06USDT", "!SIM05/USDT"]}
    of_words = loaded.post("/live", params=words).json()["datasets"]
    assert [(one["pair"], one["tz"], one["was_live"]) for one in of_words] == [
        ("SIM06/USDT", "UTC", False),
        ("SIM04/USDT", "+05:30", True),
    ]
    stopped = loaded.delete("/live", params={"market": "futures", "pairs": ["SIM04/USDT", "SIM06/USDT"]})
    assert (stopped.status_code, stopped.json()["pairs"], stopped.json()["live"]) == (202, 2, False)
    live = {one["pair"]: one["live"] for one in loaded.get("/status").json() if one["market"] == "futures"}
    assert (live["SIM04/USDT"], live["SIM05/USDT"], live["SIM06/USDT"]) == (False, True, False)
    (still_live,) = loaded.delete("/live", params={"market": "futures", "pairs": "SIM05/USDT"}).json()["datasets"]
    assert still_live["was_live"] is True


@pytest.mark.parametrize("method", ["post", "delete"])
@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ({"universe": "nosuch"}, "no universe 'nosuch'"),
        ({"pair": "NOSUCH*"}, "'NOSUCH*' matches no pair"),
        ({"pair": ["SIM02/USDT", "SIM02USDT"]}, "named twice"),
        ({"pair": "!SIM02/USDT"}, "no pair is named"),
        ({"pair": ["SIM08/USDT", "NOSUCH/USDT"]}, "NOSUCH/USDT"),
        ({"pair": ["SIM02/USDT", "/"]}, "pair: "),
    ],
)
def test_live_mode_of_pairs_that_cannot_be_is_refused(
    loaded: Api, method: str, named: dict[str, Any], problem: str
) -> None:
    def stored() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in loaded.root.glob("binance*/*/1m/dataset.json")}

    before = stored()
    refused = getattr(loaded, method)("/live", params={"market": "spot", **named})
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    if method == "delete" and "SIM08/USDT" in named.get("pair", ""):
        problem = "there is no spot SIM08/USDT"
    assert problem in refused.json()["detail"]
    assert stored() == before


def test_status_health_and_unknown_things(loaded: Api) -> None:
    pairs = {(one["market"], one["pair"]) for one in loaded.get("/status").json()}
    assert ("spot", "SIM02/USDT") in pairs
    assert loaded.get("/status", params={"pair": "ETH/USDT"}).status_code == 404
    for market in ("spot", "futures"):
        of_market = {(one["market"], one["pair"]) for one in loaded.get("/status", params={"market": market}).json()}
        assert of_market == {one for one in pairs if one[0] == market}
    health = loaded.get("/health").json()
    assert {sign["name"] for sign in health["signs"]} >= {"data root", "exchange", "webserver"}
    for path in ("/runs/00000000-0000-0000-0000-000000000000", "/runs/00000000-0000-0000-0000-000000000000/events"):
        assert loaded.get(path).status_code == 404
