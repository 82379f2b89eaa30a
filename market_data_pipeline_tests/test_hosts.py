"""Three hosts with an address each load into one bucket and one Dagster; they are cut off, killed and banned."""

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.server import RunningExchange, serve
from market_data_pipeline_tests.hosts import Host, Network
from market_data_pipeline_tests.places import ReadablePath, environment_of, in_bucket
from market_data_pipeline_tests.support import (
    CHECKOUT,
    NOON,
    MarketData,
    counted,
    is_page,
    wait_until,
)
from market_data_pipeline_tests.test_bucket import content_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DAYS = ("--start", "2024-03-01", "--end", "2024-03-31")
PAIRS = ("BTC/USDT", "ETH/USDT", "BNB/USDT", "SOL/USDT", "XRP/USDT", "ADA/USDT")
SHARES = (PAIRS[0:2], PAIRS[2:4], PAIRS[4:6])
HostTool = Callable[..., MarketData]


@pytest.fixture
def running(hosts: Network) -> Iterator[RunningExchange]:
    """An exchange that the hosts reach."""
    with serve(SimulatedExchange(now=NOON, speed=0), host=hosts.address) as started:
        yield started


@pytest.fixture
def root(seaweedfs: str, monkeypatch: pytest.MonkeyPatch) -> ReadablePath:
    for name, value in environment_of(seaweedfs).items():
        monkeypatch.setenv(name, value)
    return in_bucket()


@pytest.fixture
def tool_on(
    hosts: Network, running: RunningExchange, root: ReadablePath, postgres: str, seaweedfs: str, tmp_path: Path
) -> HostTool:
    """The command line on a host: its own home, its own state; bucket and Postgres in common."""
    server = sa.make_url(postgres)
    database = {"PGUSER": server.username, "PGDATABASE": server.database, "PGPASSWORD": server.password}
    shared = environment_of(f"http://{hosts.address}:{hosts.way_to(int(seaweedfs.rpartition(':')[2]))}") | {
        "PGHOST": hosts.address,
        "PGPORT": str(hosts.way_to(server.port or 5432)),
        **{name: str(value) for name, value in database.items() if value},
        **hosts.environment,
    }

    def made(host: Host, egress: str | None = None) -> MarketData:
        folder = tmp_path / host.name
        home = folder / "dagster"
        home.mkdir(parents=True, exist_ok=True)
        settings = (CHECKOUT / "deploy" / "dagster.postgres.yaml").read_text(encoding="utf-8")
        (home / "dagster.yaml").write_text(settings, encoding="utf-8")
        own = {
            "DAGSTER_HOME": str(home),
            "LOG_DIR": str(folder / "logs"),
            "XDG_STATE_HOME": str(folder / "state"),
            "MARKET_DATA_EGRESS": egress or host.name,
        }
        return MarketData(root, running.url, shared | own, host.under)

    return made


def load_of(pairs: tuple[str, ...]) -> list[str]:
    names = [word for pair in pairs for word in ("--pair", pair)]
    return ["--market", "futures", *names, "backfill", "--source", "rest", *DAYS]


def recorded(postgres: str) -> Counter[tuple[str, str]]:
    """How often Dagster has each day of each dataset."""
    days = (
        "SELECT asset_key, partition FROM event_logs "
        "WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND partition IS NOT NULL"
    )
    with sa.create_engine(postgres, poolclass=sa.NullPool).connect() as connection:
        return Counter((str(asset), str(day)) for asset, day in connection.execute(sa.text(days)))


def pages_by_address(exchange: SimulatedExchange) -> Counter[str]:
    """The pages that each address has asked for, counted from now on."""
    pages: Counter[str] = Counter()

    def count(request: RequestInfo) -> None:
        if is_page(request):
            pages[request.address] += 1

    exchange.hooks.append(count)  # type: ignore[arg-type]  # it hinders no request
    return pages


def assert_in_order(process: "subprocess.Popen[str]") -> None:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err


def test_one_host_cut_off_and_another_killed_leave_the_store_of_one_machine(
    hosts: Network, running: RunningExchange, root: ReadablePath, tool_on: HostTool, postgres: str, tmp_path: Path
) -> None:
    pages = pages_by_address(running.exchange)
    # The loads take so long that the last to start has begun before the first has ended.
    running.exchange.rtt_ms = 1500
    tools = [tool_on(host) for host in hosts.hosts]
    lost, dead, _ = hosts.hosts
    with ExitStack() as stack:
        loads = [stack.enter_context(tool.start(*load_of(share))) for tool, share in zip(tools, SHARES, strict=True)]
        stack.callback(lambda: [host.kill() for host in hosts.hosts])
        wait_until(lambda: pages[lost.address] >= 40 and pages[dead.address] >= 40)
        assert all(load.poll() is None for load in loads)
        lost.cut()
        dead.kill()
        running.exchange.rtt_ms = 0
        assert_in_order(loads[2])
        loads[1].communicate()
        assert loads[1].returncode != 0
        # What they had to do goes on elsewhere.
        assert_in_order(stack.enter_context(tools[2].start(*load_of(SHARES[0] + SHARES[1]))))
        lost.mend()
        _, said = loads[0].communicate(timeout=300)
        assert loads[0].returncode in {0, 3}, said
    alone = MarketData(tmp_path / "alone", running.url, hosts.environment)
    with ExitStack() as stack:
        again = [tool.start(*load_of(share)) for tool, share in zip(tools[:2], SHARES[:2], strict=True)]
        for process in [stack.enter_context(each) for each in (*again, alone.start(*load_of(PAIRS)))]:
            assert_in_order(process)
    assert content_of(root) == content_of(alone.root)
    times = recorded(postgres)
    assert len(times) == len(PAIRS) * 30
    assert set(times.values()) == {1}, [day for day, count in times.items() if count > 1]
    stats = counted(running.exchange, "futures")
    assert (stats["status"]["429"], stats["status"]["418"]) == (0, 0)
    assert {host.address for host in hosts.hosts} < stats["addresses"].keys()


def test_each_address_has_a_budget_of_its_own_and_those_behind_one_share_it(
    hosts: Network, running: RunningExchange, tool_on: HostTool
) -> None:
    """The exchange bans one address: all who say that they are behind it send nothing, and others go on."""
    banned, beside, elsewhere = hosts.hosts
    pages = pages_by_address(running.exchange)
    running.exchange.faults.ban_seconds = 3600
    running.exchange.hooks.append(
        lambda request: "418" if is_page(request) and request.address == banned.address else None
    )

    first = tool_on(banned, "office").run(*load_of(PAIRS[:1]))
    assert (first.returncode, "the exchange refuses requests from this IP address" in first.stderr) == (3, True)
    second = tool_on(beside, "office").run(*load_of(PAIRS[1:2]))
    assert (second.returncode, "the exchange refuses requests from this IP address" in second.stderr) == (3, True)
    assert beside.address not in counted(running.exchange, "futures")["addresses"]
    assert tool_on(elsewhere, "home").run(*load_of(PAIRS[2:3])).returncode == 0
    assert pages[beside.address] == 0 < pages[elsewhere.address]
