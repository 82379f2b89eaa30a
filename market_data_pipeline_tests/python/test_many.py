"""Several pairs from Python: what the commands do with several pairs, and say in Python's ways."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline import MarketDataWarning, backfill_many, combine_many, plan, status, verify
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import everything

PAIRS = ["P0/USDT", "P1/USDT", "P2/USDT"]
SCENARIO: dict[str, Any] = {
    "now": "2024-05-06T12:00:05Z",
    "futures": {pair.replace("/", ""): {"first": "2024-04-01T00:00Z"} for pair in PAIRS},
}
WINDOW = {"start": "2024-05-01", "end": "2024-05-03"}


@pytest.fixture
def running() -> Iterator[RunningExchange]:
    with scenario_exchange(SCENARIO, weights=False) as exchange:
        yield exchange


@pytest.fixture
def root(tmp_path: Path, running: RunningExchange, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("MARKET_DATA_DIR", str(tmp_path / "root"))
    monkeypatch.setenv("MARKET_DATA_EXCHANGE_URL", running.url)
    return tmp_path / "root"


@pytest.mark.parametrize("call", [plan, backfill_many])
def test_pairs_that_a_catalog_may_lack_are_a_warning_of_the_users_line(
    root: Path, running: RunningExchange, call: Callable[..., object]
) -> None:
    running.exchange.hooks.append(lambda request: "403" if request.area == "listing" else None)
    with pytest.warns(MarketDataWarning, match="the archive cannot be listed") as said:
        call("P0*", **WINDOW)
    assert [warning.filename for warning in said] == [__file__]


@pytest.mark.slow
def test_what_is_planned_is_loaded_verified_and_combined(root: Path) -> None:
    expected = plan("P*", **WINDOW)
    assert ([cost.name for cost in expected.costs], everything(root)) == ([f"futures {pair}" for pair in PAIRS], {})
    assert (expected.total.klines, dict(expected.total.days)) == (3 * 2880, {"to load": 6})
    assert repr(expected).startswith("LoadPlan(pairs=3, failed=0, total=Cost(name='all'")
    report = backfill_many("P*", **WINDOW)
    assert report.ok
    assert repr(report).startswith(
        "ManyReport(ok=True, datasets=3, failed=0, days={'loaded': 6}, rows=8640, error=None"
    )
    assert {one.name: one.rows for one in report.datasets.values()} == {f"futures {pair}": 2880 for pair in PAIRS}
    (root / "market-data.toml").write_text(
        '[universe.two]\nmarket = "futures"\npairs = ["P[01]/*"]\n', encoding="utf-8"
    )
    assert [(proof.verification.dataset.pair, proof.ok) for proof in verify(universe="two")] == [
        ("P0/USDT", True),
        ("P1/USDT", True),
    ]
    combined = combine_many(["P*", "!P1*"])
    assert repr(combined).startswith("CombinedMany(ok=True, datasets=2, failed=0, error=None, run_id=")
    assert [(one.name, one.combined and one.combined.rows) for one in combined.results] == [
        ("futures P0/USDT", 2880),
        ("futures P2/USDT", 2880),
    ]
    assert [each.dataset.pair for each in status(["P2USDT", "P0/USDT"])] == ["P2/USDT", "P0/USDT"]


@pytest.mark.slow
def test_a_pair_that_fails_is_a_warning_and_hides_no_other(root: Path) -> None:
    with pytest.warns(MarketDataWarning, match="1 pair failed: futures NOPE/USDT: futures does not list") as warned:
        report = backfill_many(["P0/USDT", "NOPE/USDT"], **WINDOW)
    assert {Path(each.filename).name for each in warned if each.category is MarketDataWarning} == {Path(__file__).name}
    assert (report.ok, [one.name for one in report.failed]) == (False, ["futures NOPE/USDT"])
    assert [each.dataset.pair for each in status()] == ["P0/USDT"]


@pytest.mark.parametrize("call", [backfill_many, plan, combine_many, verify, status])
@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"universe": "yours"}, "no universe 'yours'"),
        ({"pairs": ["Q*"]}, "'Q\\*' matches no pair"),
        ({"pairs": ["P0/USDT", "P0USDT"]}, "named twice"),
        ({"pairs": []}, "no pair is named"),
    ],
)
def test_a_wrong_request_is_refused(root: Path, call: Callable[..., Any], named: dict[str, Any], said: str) -> None:
    words = [named["pairs"]] if "pairs" in named else []
    options = {key: value for key, value in named.items() if key != "pairs"}
    with pytest.raises(UsageError, match=said):
        call(*words, **options)
    assert not list(root.glob("binance*"))
