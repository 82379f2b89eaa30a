"""A Postgres that goes away and comes back while days are loaded: one line, and nothing is lost."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from market_data_pipeline.core.bulk.load import Ended, Message, Work, load_many
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.defs.location import jobs_of
from market_data_pipeline.defs.resources import Caller, tools_of
from market_data_pipeline.instance import runs
from market_data_pipeline.instance.names import LOAD_JOB, LOAD_OP
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.core.fakes import UTC_ZONE, at
from market_data_pipeline_tests.defs.loading import settings_of
from market_data_pipeline_tests.servers import Link
from market_data_pipeline_tests.support import (
    CHECKOUT,
    MarketData,
    Simulate,
    chunk_files,
    wait_until,
    without_progress,
)

pytestmark = pytest.mark.slow
DAYS = [(date(2023, 9, 1) + timedelta(days=number)).isoformat() for number in range(200)]
LOAD = ("--market", "spot", "backfill", "--source", "rest", "--start", DAYS[0], "--end", "2024-03-19")
REFUSED = "the database of the Dagster instance of {home} takes no entry: connection to server at "

REFUSED_PAYMENT = "the request-weight budget in Postgres cannot be reached"


@pytest.fixture
def running(simulate: Simulate) -> RunningExchange:
    """So far away that all days take some seconds."""
    return simulate(weights=False, rtt_ms=300)


@pytest.fixture
def tool(tmp_path: Path, running: RunningExchange, postgres: str, link: Link) -> MarketData:
    """The command line with a home as deploy/ describes it, its Postgres behind the link."""
    home = tmp_path / "home"
    home.mkdir()
    settings = (CHECKOUT / "deploy" / "dagster.postgres.yaml").read_text(encoding="utf-8")
    (home / "dagster.yaml").write_text(settings, encoding="utf-8")
    server = sa.make_url(postgres)
    named = {"PGHOST": "127.0.0.1", "PGPORT": link.port, "PGUSER": server.username, "PGDATABASE": server.database}
    password = {"PGPASSWORD": str(server.password)} if server.password else {}
    return MarketData(
        tmp_path / "root",
        running.url,
        {"DAGSTER_HOME": str(home), **{name: str(value) for name, value in named.items()}, **password},
    )


def recorded(postgres: str) -> list[str]:
    """The days that Dagster has, as often as it has them."""
    days = (
        "SELECT partition FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' "
        "AND partition IS NOT NULL ORDER BY partition"
    )
    with sa.create_engine(postgres, poolclass=sa.NullPool).connect() as connection:
        return list(connection.scalars(sa.text(days)))


def test_a_postgres_that_is_down_is_one_line_and_is_found_when_it_is_up(
    tool: MarketData, link: Link, postgres: str
) -> None:
    link.cut()
    refused = tool.run(*LOAD)
    assert refused.returncode == 3
    [line] = without_progress(refused.stderr).splitlines()
    # The budget is the first to be asked for.
    assert line.startswith(f"error: {REFUSED_PAYMENT} (connection to server at ")
    assert "Connection refused" in line
    assert "check that Postgres runs" in line
    assert not chunk_files(tool.root)
    link.mend()
    assert tool.run(*LOAD).returncode == 0
    assert recorded(postgres) == DAYS


def test_a_load_goes_on_when_postgres_is_back(
    tool: MarketData, running: RunningExchange, link: Link, postgres: str
) -> None:
    # Pages are asked for while Dagster starts. So slowly, some are still to be paid when the first days are stored.
    running.exchange.rtt_ms = 1500
    with tool.start(*LOAD) as process:
        wait_until(lambda: len(chunk_files(tool.root)) > 10)
        link.cut()
        log = tool.root / "logs" / "loader.log"
        wait_until(lambda: log.exists() and REFUSED_PAYMENT in log.read_text(encoding="utf-8"))
        link.mend()
        running.exchange.rtt_ms = 100
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    [line] = without_progress(said).splitlines()
    assert REFUSED_PAYMENT in line
    assert "no request is sent until it can" in line
    assert recorded(postgres) == DAYS


def test_a_load_whose_postgres_stays_down_ends_in_one_line_and_the_next_one_records_its_days(
    tool: MarketData, link: Link, postgres: str
) -> None:
    with tool.start(*LOAD) as process:
        wait_until(lambda: len(chunk_files(tool.root)) > 10)
        link.cut()
        _, said = process.communicate(timeout=120)
    assert process.returncode == 3, said
    [line] = without_progress(said).splitlines()
    assert line.startswith("error: " + REFUSED.format(home=tool.env["DAGSTER_HOME"]))
    # Without its budget a load asks for no further day.
    kept = list(chunk_files(tool.root))
    assert kept == DAYS[: len(kept)]
    link.mend()
    resumed = tool.run(*LOAD)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{len(kept)} unchanged" in resumed.stdout
    assert recorded(postgres) == DAYS


def logged() -> None:
    """These loads need no log of their own."""


def test_a_load_of_many_goes_on_while_postgres_is_away(
    tool: MarketData, running: RunningExchange, link: Link, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in tool.env.items():
        monkeypatch.setenv(name, value)
    running.exchange.rtt_ms = 0
    home = Path(tool.env["DAGSTER_HOME"])
    tools = tools_of(settings_of(tool.root, running.url).model_copy(update={"dagster_home": home}))
    window = {"start_ms": at("2024-03-01"), "end_ms": at("2024-03-04")}
    first, second = (WindowRequest(Market.SPOT, pair, UTC_ZONE, **window) for pair in ("BTC/USDT", "ETH/USDT"))
    work = Work(tools.store, tools.opener("rest"), logged)
    told = [said for request in (first, second) for said in load_many([request], work)]

    def away() -> Iterator[tuple[WindowRequest, Message]]:
        """What is told; when the first pair ends nobody is there, until the second one ends."""
        for request, message in told:
            if isinstance(message, Ended):
                (link.cut if request is first else link.mend)()
            yield request, message

    with runs.open_instance(home) as instance:
        jobs = jobs_of(replace(tools, caller=Caller(messages=(said for said in away()))))
        ended = runs.run_op(instance, jobs, LOAD_JOB, LOAD_OP, config={}, tags={})
        assert ended.success, ended.error
        for token in ("BTCUSDT", "ETHUSDT"):
            assert instance.get_latest_materialization_event(dg.AssetKey(["binance", token, "manifest"]))
    assert recorded(postgres) == sorted(["2024-03-01", "2024-03-02", "2024-03-03"] * 2)
