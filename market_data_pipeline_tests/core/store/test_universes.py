"""`market-data.toml`: what it may say, and that anything else is one line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.universes import UNIVERSES_FILE, Universe, find_universe, read_universes

GOOD = """
[universe.usdt-perps]
market = "futures"
pairs = ["*/USDT", "!*DOWN/*"]
zone = "Europe/Zurich"
start = "2021-01-01"
source = "archive"
live = true

[universe.majors]
market = "spot"
pairs = ["BTC/USDT", "ETHUSDT"]
"""


def written(root: Path, text: str) -> Path:
    (root / UNIVERSES_FILE).write_text(text, encoding="utf-8")
    return root


def test_it_names_choices_of_pairs(tmp_path: Path):
    assert read_universes(written(tmp_path, GOOD)) == {
        "usdt-perps": Universe(
            "usdt-perps",
            Market.FUTURES,
            ("*/USDT", "!*DOWN/*"),
            zone="Europe/Zurich",
            start="2021-01-01",
            source="archive",
            live=True,
        ),
        "majors": Universe("majors", Market.SPOT, ("BTC/USDT", "ETHUSDT")),
    }


def test_without_a_file_there_is_none(tmp_path: Path):
    assert read_universes(tmp_path) == {}
    with pytest.raises(UsageError, match="it has none; write"):
        find_universe(tmp_path, "majors")


def test_one_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path):
    with pytest.raises(UsageError, match="no universe 'mayors' .* it has usdt-perps, majors; write"):
        find_universe(written(tmp_path, GOOD), "mayors")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[universe.a\n", "cannot be read"),
        ('[universes.a]\nmarket = "spot"', "unknown table"),
        ("universe = 3", "universe is no table"),
        ("[universe]\na = 3", "is no table"),
        ('[universe.a]\nmarket = "spot"', "has no pairs"),
        ('[universe.a]\npairs = ["BTC/USDT"]', "has no market"),
        ('[universe.a]\nmarket = "sport"\npairs = ["BTC/USDT"]', "no such market"),
        ('[universe.a]\nmarket = "spot"\npairs = "BTC/USDT"', "pairs must be a list of texts"),
        ('[universe.a]\nmarket = "spot"\npairs = [1]', "pairs must be texts"),
        ('[universe.a]\nmarket = "spot"\npairs = []', "no pair is named"),
        ('[universe.a]\nmarket = "spot"\npairs = ["BTC/USDT", "BTCUSDT"]', "named twice"),
        ('[universe.a]\nmarket = "spot"\npairs = ["*"]\nzone = "Mars"', "no such time zone"),
        ('[universe.a]\nmarket = "spot"\npairs = ["*"]\nstart = "soon"', "soon"),
        ('[universe.a]\nmarket = "spot"\npairs = ["*"]\nstart = 2021-01-01', "start must be a text in quotes"),
        ('[universe.a]\nmarket = "spot"\npairs = ["*"]\nsource = "web"', "source must be auto, rest or archive"),
        ('[universe.a]\nmarket = "spot"\npairs = ["*"]\nlive = 1', "live must be true or false"),
        ('[universe.a]\nmarket = "spot"\npairs = ["*"]\npeirs = 1', "unknown key peirs"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path: Path, text: str, problem: str):
    with pytest.raises(UsageError) as refused:
        read_universes(written(tmp_path, text))
    assert problem in str(refused.value) and str(tmp_path / UNIVERSES_FILE) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_in_its_place_is_one_line(tmp_path: Path):
    (tmp_path / UNIVERSES_FILE).mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        read_universes(tmp_path)


@settings(max_examples=200)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_content_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    root = tmp_path_factory.mktemp("root")
    (root / UNIVERSES_FILE).write_bytes(content)
    try:
        read_universes(root)
    except UsageError as error:
        assert "\n" not in str(error)
