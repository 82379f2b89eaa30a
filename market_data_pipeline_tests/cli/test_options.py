"""Options before the command have an effect on it, or are refused in one line that says what to write instead."""

from pathlib import Path

import pytest
import typer

from market_data_pipeline.cli.main import app
from market_data_pipeline_tests.support import MarketData

VALUES = {
    "--market": ["spot"],
    "--pair": ["BTC/USDT"],
    "--pairs-file": ["pairs.txt"],
    "--universe": ["mine"],
    "--align-tz": ["Europe/Zurich"],
    "--strict-pair": [],
}
REFUSED = {
    "backfill": (),
    "live": (),
    "verify": ("--strict-pair",),
    "verify --snapshot study": tuple(VALUES),
    "combine": ("--align-tz", "--strict-pair"),
    "export --format csv --output here": ("--strict-pair",),
    "status": ("--align-tz", "--strict-pair"),
    "status --runs": tuple(VALUES)[1:],
    "report": ("--align-tz", "--strict-pair"),
    "health": ("--align-tz", "--strict-pair"),
    "snapshot": tuple(VALUES),
    "snapshot study": ("--align-tz", "--strict-pair"),
    "snapshot study --remove": tuple(VALUES),
    "pairs": ("--align-tz", "--strict-pair"),
    "universe list": tuple(VALUES),
    "universe show mine": tuple(VALUES),
    "universe apply mine": tuple(VALUES),
    "doctor": tuple(VALUES),
    "up": tuple(VALUES),
    "worker": tuple(VALUES),
    "serve": tuple(VALUES),
    "simulate": tuple(VALUES),
    "demo": tuple(VALUES),
}


@pytest.fixture
def run(tmp_path: Path) -> MarketData:
    return MarketData(tmp_path / "root", "http://127.0.0.1:1")


def test_each_command_is_looked_at() -> None:
    assert {words.split()[0] for words in REFUSED} == set(typer.main.get_command(app).commands)


def test_a_universe_with_many_names_is_shown_whole_and_a_market_may_be_spelled_in_capitals(run: MarketData) -> None:
    run.root.mkdir()
    names = ", ".join(f'"N{number:03d}/USDT"' for number in range(150))
    text = f'[universe.majors]\nmarket = "spot"\npairs = [{names}]\nzone = "Europe/Zurich"\nlive = true\n'
    (run.root / "market-data.toml").write_text(text, encoding="utf-8")
    head, row = run("universe", "list").stdout.splitlines()
    assert head.split() == ["universe", "market", "pairs", "zone", "start", "source", "live"]
    pairs = [f"N{number:03d}/USDT" for number in range(150)]
    assert row.split() == ["majors", "spot", *pairs, "Europe/Zurich", "-", "-", "yes"]
    for market in ("SPOT", "futures"):
        refused = run("--market", market, "--universe", "majors", "status")
        assert refused.exit_code == 2
        assert ("leave out --market" in refused.stderr) is (market == "futures")


@pytest.mark.parametrize("words", REFUSED)
def test_what_has_no_effect_is_refused(run: MarketData, words: str) -> None:
    for option in REFUSED[words]:
        done = run(option, *VALUES[option], *words.split())
        [line] = done.stderr.splitlines()
        assert (done.exit_code, done.stdout) == (2, ""), (option, words)
        assert line.startswith(f"error: {words.split()[0]}") and f" takes no {option}; " in line


@pytest.mark.parametrize("words", REFUSED)
def test_the_help_of_a_command_is_shown_whatever_stands_before_it(run: MarketData, words: str) -> None:
    for option in VALUES:
        done = run(option, *VALUES[option], *words.split(), "--help")
        assert (done.exit_code, done.stderr) == (0, ""), (option, words)
        assert done.stdout.lstrip().startswith("Usage: ") and words.split()[0] in done.stdout


@pytest.mark.parametrize("words", [words for words in REFUSED if "--pair" not in REFUSED[words]])
def test_a_universe_and_a_file_are_looked_for_where_pairs_are_taken(run: MarketData, words: str) -> None:
    for option, told in (("--universe", "no universe 'mine'"), ("--pairs-file", "cannot read pairs.txt")):
        done = run(option, *VALUES[option], *words.split())
        assert done.exit_code == 2, (option, words)
        assert told in done.stderr


def test_the_line_says_what_to_write_instead(run: MarketData) -> None:
    assert "write combine --tz ZONE" in run("--align-tz", "UTC", "combine").stderr
    assert "only backfill and live replace a pair" in run("--strict-pair", "status").stderr
    assert "a snapshot has its own pairs" in run("--pair", "A/B", "verify", "--snapshot", "study").stderr
    # No advice that the command then refuses.
    assert "doctor takes no --pair; leave it out" in run("doctor", "--pair", "A/B").stderr
    assert "stands before" not in run("doctor", "A/B").stderr


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (("verify", "--every-day"), "give --against rest or --against archive"),
        (("live", "--mark", "--minutes", "5"), "leave it out"),
        (("live", "--unmark", "--minutes", "5"), "leave it out"),
    ],
)
def test_an_option_without_the_one_that_it_is_for_is_refused(
    run: MarketData, words: tuple[str, ...], needed: str
) -> None:
    done = run(*words)
    [line] = done.stderr.splitlines()
    assert (done.exit_code, done.stdout) == (2, "")
    assert line.startswith("error: ") and needed in line


@pytest.mark.parametrize(
    "words",
    [
        ("--market", "spot", "backfill", "--start", ""),
        ("--market", "spot", "backfill", "--end="),
        ("--market=", "status"),
        ("--align-tz", "", "backfill"),
        ("export", "--format", "csv", "--output", ""),
    ],
)
def test_a_value_that_is_empty_is_refused(run: MarketData, words: tuple[str, ...]) -> None:
    """As `--start "$FROM"` where FROM is not set: that would load all days."""
    done = run(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert " has no value; give one, or leave the option out" in done.stderr
    assert not run.root.exists()
