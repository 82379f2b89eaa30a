"""The settings: defaults, variables, and what is said of a value that cannot be used."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from typer.testing import Result

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.settings import Settings, load
from market_data_pipeline_tests.support import MarketData

VARIABLES = {
    "MARKET_DATA_DIR": ("/somewhere/else", Path("/somewhere/else")),
    "MARKET_TYPE": ("spot", "spot"),
    "SYMBOL": ("NEAR/USDT", "NEAR/USDT"),
    "ALIGN_TZ": ("+05:30", "+05:30"),
    "BUILD_COMBINED_ON_BACKFILL": ("1", True),
    "MANIFEST_WRITE_INTERVAL_SEC": ("2.5", 2.5),
    "EXTRA_SLEEP_SEC": ("0.1", 0.1),
    "LOG_DIR": ("/logs", Path("/logs")),
    "MARKET_DATA_SOURCE": ("rest", "rest"),
    "MARKET_DATA_EXCHANGE_URL": ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
    "MARKET_DATA_API_TOKEN": ("open sesame", SecretStr("open sesame")),
    "MARKET_DATA_EGRESS": ("office-1", "office-1"),
    "MARKET_DATA_METRICS_ADDRESS": ("0.0.0.0:9101", "0.0.0.0:9101"),
    "MARKET_DATA_ALERT_URL": ("https://hooks.example/secret", SecretStr("https://hooks.example/secret")),
    "MARKET_DATA_RUNS_KEPT_DAYS": ("30", 30),
    "MARKET_DATA_PROOF_DAYS": ("30", 30),
    "MARKET_DATA_PROOF_HOURS": ("0.5", 0.5),
    "MARKET_DATA_OWNERS": ("team:quants, data@example.org", "team:quants, data@example.org"),
    "DAGSTER_HOME": ("/home/of/dagster", Path("/home/of/dagster")),
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_every_setting_is_in_these_tests() -> None:
    assert {name.upper() for name in Settings.model_fields} == VARIABLES.keys()


def test_the_defaults_are_those_that_are_documented() -> None:
    settings = load()
    assert settings.market_data_dir == (
        Path("C:/MarketData") if sys.platform == "win32" else Path.home() / "MarketData"
    )
    assert (settings.market_type, settings.symbol, settings.align_tz) == ("futures", "BTC/USDT", "UTC")
    assert settings.build_combined_on_backfill is False
    assert (settings.manifest_write_interval_sec, settings.extra_sleep_sec) == (300, 0)
    assert (settings.market_data_proof_days, settings.market_data_proof_hours) == (7, 4)
    assert settings.market_data_source == "auto"
    assert settings.market_data_exchange_url is settings.log_dir is settings.dagster_home is None


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_is_read(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, value = VARIABLES[name]
    monkeypatch.setenv(name, text)
    assert getattr(load(), name.lower()) == value


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    default = getattr(load(), name.lower())
    monkeypatch.setenv(name, "")
    assert getattr(load(), name.lower()) == default


def test_what_is_given_counts_more_than_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_DATA_SOURCE", "auto")
    assert load(market_data_source="rest").market_data_source == "rest"
    assert load(market_data_source=None).market_data_source == "auto"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().symbol = "LTC/USDT"


def test_paths_that_are_not_set_lie_under_the_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MARKET_DATA_DIR", str(tmp_path))
    settings = load()
    assert (settings.root, settings.logs, settings.home) == (tmp_path, tmp_path / "logs", tmp_path / "dagster")


def test_paths_that_are_set_lie_where_they_are_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LOG_DIR", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    settings = load()
    assert (settings.logs, settings.home) == (tmp_path / "LOG_DIR", tmp_path / "DAGSTER_HOME")


def test_paths_may_start_at_home_or_where_one_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARKET_DATA_DIR", "~/klines")
    monkeypatch.setenv("LOG_DIR", "logs")
    settings = load()
    assert (settings.root, settings.logs) == (Path.home() / "klines", tmp_path / "logs")


@pytest.mark.skipif("os.name == 'nt'", reason="Windows looks for no such user")
@pytest.mark.parametrize("name", ["MARKET_DATA_DIR", "LOG_DIR", "DAGSTER_HOME"])
def test_a_path_from_a_home_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "~nosuch/folder")
    with pytest.raises(UsageError, match=f"{name}=.*: there is no such home folder; give an absolute path"):
        load()


@pytest.mark.skipif("os.name == 'nt'", reason="Windows has another default")
def test_a_user_without_a_home_is_told_to_set_the_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("MARKET_DATA_DIR", raising=False)
    with pytest.raises(UsageError, match="no home folder to keep the data in; set MARKET_DATA_DIR"):
        load()
    monkeypatch.setenv("MARKET_DATA_DIR", str(tmp_path))
    assert load().root == tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MANIFEST_WRITE_INTERVAL_SEC", "soon"),
        ("MANIFEST_WRITE_INTERVAL_SEC", "-1"),
        ("MANIFEST_WRITE_INTERVAL_SEC", "nan"),
        ("EXTRA_SLEEP_SEC", "-0.5"),
        ("EXTRA_SLEEP_SEC", "inf"),
        ("MARKET_DATA_RUNS_KEPT_DAYS", "-1"),
        ("BUILD_COMBINED_ON_BACKFILL", "perhaps"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(UsageError) as caught:
        load()
    assert name in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("MARKET_DATA_EXCHANGE_URL", "127.0.0.1:29117", "write http://HOST:PORT or https://HOST"),
        ("MARKET_DATA_EXCHANGE_URL", "ftp://localhost", "write http://HOST:PORT or https://HOST"),
        ("MARKET_DATA_EXCHANGE_URL", "http://[::1", "write http://HOST:PORT or https://HOST"),
        ("MARKET_DATA_EXCHANGE_URL", "http://127.0.0.1:99999", "write http://HOST:PORT or https://HOST"),
        ("MARKET_DATA_EGRESS", "my office", "write at most 100 letters, digits and ._:- such as office-1"),
        ("MARKET_DATA_METRICS_ADDRESS", "localhost", "write a port such as 9101, or HOST:PORT"),
        ("MARKET_DATA_OWNERS", "nobody", "give e-mail addresses or team:NAME, separated by commas"),
        ("MARKET_DATA_SOURCE", "tape", "write auto, rest or archive"),
        ("MARKET_TYPE", "margin", "no such market: 'margin'; give spot or futures"),
        (
            "ALIGN_TZ",
            "Europe/Zurych",
            "no such time zone: 'Europe/Zurych'; did you mean Europe/Zurich or Europe/Guernsey?",
        ),
        (
            "SYMBOL",
            "BTC-USDT",
            "not a pair: 'BTC-USDT'; write BASE/QUOTE, for example BTC/USDT, or the exchange's symbol",
        ),
    ],
)
def test_a_text_of_another_form_is_answered_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, told: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(UsageError) as caught:
        load()
    assert str(caught.value) == f"{name}={text!r} cannot be used: {told}"


def test_a_contract_is_no_pair_of_spot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMBOL", "BTC/USDT:USDT")
    assert load().symbol == "BTC/USDT:USDT"
    monkeypatch.setenv("MARKET_TYPE", "spot")
    with pytest.raises(UsageError, match="SYMBOL='BTC/USDT:USDT' cannot be used: .* is a futures contract"):
        load()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MARKET_TYPE", "margin"),
        ("SYMBOL", "BTC-USDT"),
        ("ALIGN_TZ", "Mars/Phobos"),
        ("MARKET_DATA_SOURCE", "tape"),
        ("EXTRA_SLEEP_SEC", "much"),
        ("BUILD_COMBINED_ON_BACKFILL", "perhaps"),
    ],
)
def test_a_variable_that_cannot_be_used_gets_one_line_and_exit_code_2(market_data: Any, name: str, text: str) -> None:
    run: MarketData = market_data()
    result: Result = run("backfill", "--start", "2024-05-10", "--end", "2024-05-11", **{name: text})
    assert (result.exit_code, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert text in line
    assert not run.root.exists()


@pytest.mark.parametrize("module", ["market_data_pipeline.instance.home", "dagster"])
def test_what_dagster_starts_says_it_without_values_that_are_secret(tmp_path: Path, module: str) -> None:
    words = ["definitions", "validate", "-m", "market_data_pipeline.definitions"] if module == "dagster" else []
    env = {**os.environ, "DAGSTER_HOME": str(tmp_path), "MARKET_DATA_ALERT_URL": "open sesame", "MARKET_TYPE": "spot"}
    done = subprocess.run(
        [sys.executable, "-m", module, *words], env=env, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode != 0
    assert "MARKET_DATA_ALERT_URL cannot be used: " in done.stdout + done.stderr
    assert "sesame" not in done.stdout + done.stderr
    if not words:
        assert (done.stdout, done.returncode, len(done.stderr.splitlines())) == ("", 2, 1)


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_is_in_the_documentation(name: str) -> None:
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    assert f"`{name}`" in page
