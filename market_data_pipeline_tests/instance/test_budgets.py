"""Where an installation keeps its budgets: what `dagster.yaml` may say of Postgres, and that every process heeds it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from market_data_pipeline.app.health import check_health
from market_data_pipeline.app.targets import Target
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.instance.budgets import postgres_url
from market_data_pipeline.instance.runs import open_instance
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.support import CHECKOUT, MarketData, Simulate, counted, without_progress

URL = "postgresql+psycopg2://me:secret@host/dagster"
PARTS = {"username": "m e", "password": {"env": "THE_PASSWORD"}, "hostname": "host", "db_name": "dagster"}
URL_OF_PARTS = "postgresql://m%20e:s%2Fe%40t@host:5432/dagster"
DOCUMENTS = {
    "none": ({}, None),
    "a list": (["postgres"], None),
    "text": ("postgres", None),
    "SQLite": ({"storage": {"sqlite": {"base_dir": "postgres"}}}, None),
    "MySQL": ({"storage": {"mysql": {"mysql_url": "mysql://postgres@host"}}}, None),
    "no config": ({"storage": {"postgres": None}}, None),
    "URL": ({"storage": {"postgres": {"postgres_url": URL}}}, URL),
    "URL of a variable": ({"storage": {"postgres": {"postgres_url": {"env": "THE_URL"}}}}, URL),
    "parts": ({"storage": {"postgres": {"postgres_db": PARTS}}}, URL_OF_PARTS),
    "more parts": (
        {"storage": {"postgres": {"postgres_db": PARTS | {"port": 6432, "params": {"sslmode": "require"}}}}},
        URL_OF_PARTS.replace("5432", "6432") + "?sslmode=require",
    ),
    "another class": ({"storage": {"custom": {"module": "m", "class": "C", "config": {"postgres_url": URL}}}}, URL),
    "an older way": ({"run_storage": {"module": "m", "class": "C", "config": {"postgres_db": PARTS}}}, URL_OF_PARTS),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THE_URL", URL)
    monkeypatch.setenv("THE_PASSWORD", "s/e@t")
    return tmp_path


def write(home: Path, document: Any) -> None:
    (home / "dagster.yaml").write_text(yaml.safe_dump(document))


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_the_database_of_an_instance(home: Path, kind: str) -> None:
    document, url = DOCUMENTS[kind]
    write(home, document)
    assert postgres_url(home) == url
    if url:
        assert sa.make_url(url).password in {"secret", "s/e@t"}


def test_a_home_that_is_not_made_yet_or_that_nobody_can_read_has_none(home: Path) -> None:
    assert postgres_url(home) is None
    (home / "dagster.yaml").write_text("storage: {postgres: [")
    assert postgres_url(home) is None


def test_the_file_of_the_container_leaves_the_address_to_the_variables_of_libpq(home: Path) -> None:
    write(home, yaml.safe_load((CHECKOUT / "deploy" / "dagster.postgres.yaml").read_text()))
    url = sa.make_url(postgres_url(home) or "")
    assert (url.drivername, url.username, url.host, url.port, url.database) == ("postgresql+psycopg2", *[None] * 4)


def test_a_database_that_cannot_be_known_is_an_error_and_a_sign_of_bad_health(
    home: Path, monkeypatch: pytest.MonkeyPatch, simulate: Simulate
) -> None:
    monkeypatch.delenv("THE_PASSWORD")
    write(home, {"storage": {"postgres": {"postgres_db": PARTS}}})
    with pytest.raises(UsageError, match="THE_PASSWORD"):
        postgres_url(home)
    settings = Settings(market_data_dir=home / "root", dagster_home=home, market_data_exchange_url=simulate().url)
    signs = check_health(settings, Target(Market.SPOT, "BTC/USDT", parse_zone("UTC"), named=True))
    assert [sign.name for sign in signs if not sign.ok] == ["exchange"]
    write(home, {"storage": {"postgres": {"postgres_db": PARTS, "auth_provider": {"azure_wif": {}}}}})
    with pytest.raises(UsageError, match="auth_provider"):
        postgres_url(home)


@pytest.mark.slow
def test_all_processes_of_an_instance_in_postgres_spend_from_one_row(
    market_data: Callable[..., MarketData], simulate: Simulate, tmp_path: Path, postgres: str
) -> None:
    running, home = simulate(), tmp_path / "home"
    home.mkdir()
    storage = {"storage": {"postgres": {"postgres_url": {"env": "THE_URL"}}}}
    write(home, yaml.safe_load((CHECKOUT / "deploy" / "dagster.postgres.yaml").read_text()) | storage)
    run = market_data(running, DAGSTER_HOME=str(home), THE_URL=postgres, MARKET_DATA_EGRESS="office")
    days = ("backfill", "--start", "2024-05-01", "--end", "2024-05-03", "--source", "rest")
    for pairs in (["BTC/USDT"], ["ETH/USDT", "BNB/USDT"]):
        chosen = [word for pair in pairs for word in ("--pair", pair)]
        ended = run.run("--market", "spot", *chosen, *days)
        assert ended.returncode == 0, ended.stderr
    engine = sa.create_engine(postgres, poolclass=sa.NullPool)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT egress, name, used FROM market_data_budget")).all()
    host = running.url.removeprefix("http://").replace(":", "_")
    [(egress, name, used)] = rows
    assert (egress, name) == ("office", f"{host}_spot")
    # What was paid stays paid, also for a request that was not sent any more.
    assert used >= counted(running.exchange, "spot")["weight"] > 0
    assert list(tmp_path.rglob("budgets")) == []


def test_two_addresses_of_one_host_have_a_file_each(
    market_data: Callable[..., MarketData], simulate: Simulate, tmp_path: Path
) -> None:
    run = market_data(simulate())
    days = ("backfill", "--start", "2024-05-01", "--end", "2024-05-02", "--source", "rest")
    for egress in ("", "one", "two"):
        assert run("--market", "spot", *days, "--refetch", MARKET_DATA_EGRESS=egress).exit_code == 0
    (folder, _) = Settings(market_data_dir=tmp_path / "root").budgets
    assert {path.name.split("_")[0] for path in folder.glob("*.json")} == {"127.0.0.1", "one", "two"}


def test_a_postgres_that_nothing_names_is_refused(
    market_data: Callable[..., MarketData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq would take a database of this machine's socket, whosever it is."""
    for name in ("PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "dagster.yaml").write_bytes((CHECKOUT / "deploy" / "dagster.postgres.yaml").read_bytes())
    tool = market_data(DAGSTER_HOME=str(tmp_path))
    for command in (("status", "--runs"), ("--market", "spot", "backfill", "--start", "2024-05-01")):
        result = tool(*command)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "names no server, and no variable does; set PGHOST, PGUSER, PGPASSWORD and PGDATABASE" in result.stderr
        assert "\n" not in without_progress(result.stderr).strip()
    doctor = tool("doctor")
    assert "names no server, and no variable does" in doctor.stdout


@pytest.mark.parametrize(
    "config", ["postgres_url: 'postgresql://'", "postgres_url: 'postgresql+psycopg2://?connect_timeout=3'"]
)
def test_dagsters_own_storage_is_refused_without_a_name_too(tmp_path: Path, config: str) -> None:
    (tmp_path / "dagster.yaml").write_text(f"storage: {{postgres: {{{config}}}}}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="names no server"), open_instance(tmp_path):
        pass


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"PGDATABASE": "nonesuch"}, '"nonesuch" does not exist'), ({"PGUSER": "nobody_here"}, "nobody_here")],
)
def test_a_database_or_user_that_is_not_there_is_wrong_usage(
    market_data: Callable[..., MarketData], tmp_path: Path, postgres: str, wrong: dict[str, str], said: str
) -> None:
    """A retry never helps."""
    (tmp_path / "dagster.yaml").write_bytes((CHECKOUT / "deploy" / "dagster.postgres.yaml").read_bytes())
    place = sa.make_url(postgres)
    named = {"PGHOST": place.host, "PGPORT": place.port or 5432, "PGUSER": place.username, "PGDATABASE": place.database}
    if place.password:
        named["PGPASSWORD"] = place.password
    tool = market_data(DAGSTER_HOME=str(tmp_path), **{name: str(value) for name, value in named.items()})
    for command in (("status", "--runs"), ("--market", "spot", "backfill", "--start", "2024-05-01")):
        result = tool(*command, **wrong)
        assert result.exit_code == 2, result.output
        [line] = without_progress(result.stderr).splitlines()
        assert said in line
        assert line.endswith("; check PGDATABASE, PGUSER and PGPASSWORD, or the URL of Postgres in dagster.yaml")
    assert "check PGDATABASE, PGUSER and PGPASSWORD" in tool("doctor", **wrong).stdout
