"""A budget in Postgres: shared by all who name one address, whatever becomes of the processes and of the database."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from market_data_pipeline.core.errors import Banned, BudgetUnavailable, UsageError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.budgets.postgres import PostgresBudget
from market_data_pipeline.core.sources.opening import open_source
from market_data_pipeline_tests.core.sources.spending import MINUTE, Impatience, governor_of
from market_data_pipeline_tests.servers import Link
from market_data_pipeline_tests.support import CHECKOUT, Simulate, counted, is_page, minutes, span

LIMIT = 95
Execute = Callable[[str], Any]
SECRET = "postgresql://somebody:se%20cret@127.0.0.1:1/nowhere"


def start(what: str, url: str, egress: str = "office") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "market_data_pipeline_tests.core.sources.spending", what, url, egress],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told(program: "subprocess.Popen[str]") -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


@pytest.fixture
def execute(postgres: str) -> Iterator[Execute]:
    """Execute a statement in the database, and return the first value if there is one."""
    engine = sa.create_engine(postgres, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def executed(statement: str) -> Any:
        with engine.connect() as connection:
            result = connection.execute(sa.text(statement))
            return result.scalar() if result.returns_rows else None

    yield executed


def end_connections(execute: Execute) -> None:
    """End those of all budgets, as a restart of the server does."""
    execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'market-data budget'"
    )


@pytest.mark.slow
def test_sixteen_processes_spend_the_budget_of_each_address_once(postgres: str, execute: Execute) -> None:
    """They create the table, too."""
    count = {"office": 12, "home": 4}
    programs = {egress: [start("spend_all", postgres, egress) for _ in range(count[egress])] for egress in count}
    everyone = [program for of_egress in programs.values() for program in of_egress]
    assert [told(program) for program in everyone] == ["ready"] * 16
    for program in everyone:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    for egress, of_egress in programs.items():
        assert sum(int(program.communicate(timeout=120)[0]) for program in of_egress) == LIMIT
        assert execute(f"SELECT used FROM market_data_budget WHERE egress = '{egress}'") == LIMIT
    assert [program.returncode for program in everyone] == [0] * 16
    assert execute("SELECT count(*) FROM market_data_budget") == 2


def test_the_lock_of_a_process_that_was_killed_is_free(postgres: str) -> None:
    with start("hold", postgres) as holder:
        assert told(holder) == "held"
        holder.kill()
        holder.communicate()
    governor = governor_of(postgres)
    assert governor.pay(LIMIT, threading.Event()) == MINUTE
    assert governor.used() == LIMIT


@pytest.mark.slow
def test_the_lock_of_a_process_that_hangs_is_taken_from_it(postgres: str) -> None:
    hanging, ended = PostgresBudget("spot", url=postgres, egress="office", lost=lambda: pytest.fail(), warn=print), []
    held, released = threading.Event(), threading.Event()

    def hang() -> None:
        try:
            with hanging.changing() as budget:
                budget.used += 50
                held.set()
                released.wait(60)
        except BudgetUnavailable as error:
            ended.append(str(error))

    thread = threading.Thread(target=hang)
    thread.start()
    assert held.wait(30)
    governor = governor_of(postgres)
    assert governor.pay(LIMIT, threading.Event()) == MINUTE
    released.set()
    thread.join()
    assert len(ended) == 1 and "Postgres" in ended[0] and "\n" not in ended[0]
    assert governor.used() == LIMIT


def test_a_restart_of_the_database_between_two_payments_is_not_noticed(postgres: str, execute: Execute) -> None:
    warnings: list[str] = []
    governor, impatience = governor_of(postgres, warn=warnings.append), Impatience()
    for _ in range(3):
        assert governor.pay(10, impatience) == MINUTE
        end_connections(execute)
    assert (governor.used(), governor.spent, warnings) == (30, 30, [])


def test_a_payment_whose_connection_ends_before_it_is_saved_is_none(postgres: str, execute: Execute) -> None:
    budget = PostgresBudget("spot", url=postgres, egress="office", lost=lambda: pytest.fail(), warn=print)
    with pytest.raises(BudgetUnavailable), budget.changing() as changed:
        changed.used += 50
        end_connections(execute)
    time.sleep(0.6)  # it is known to be gone for a moment
    assert budget.look().used == 0


def test_a_table_that_somebody_drops_is_made_again(postgres: str, execute: Execute) -> None:
    governor, again = governor_of(postgres), threading.Event()
    assert governor.pay(10, again) == MINUTE
    execute("DROP TABLE market_data_budget")
    assert governor.pay(20, again) == MINUTE
    assert governor.used() == 20
    execute("DELETE FROM market_data_budget")
    assert governor.used() == 0
    assert governor.pay(30, again) == MINUTE
    assert execute("SELECT used FROM market_data_budget") == 30


def test_a_budget_that_did_not_change_is_not_written(postgres: str, execute: Execute) -> None:
    budget = PostgresBudget("spot", url=postgres, egress="office", lost=lambda: pytest.fail(), warn=print)
    with budget.changing() as changed:
        changed.used += 50
    row = execute("SELECT ctid FROM market_data_budget")
    with budget.changing() as changed:
        assert changed.used == 50
    assert execute("SELECT ctid FROM market_data_budget") == row
    with budget.changing() as changed:
        changed.used += 1
    assert execute("SELECT ctid FROM market_data_budget") != row


def test_no_budget_waits_for_the_connection_of_another_one(postgres: str) -> None:
    def budget(number: int) -> PostgresBudget:
        return PostgresBudget(f"{number}", url=postgres, egress="office", lost=lambda: pytest.fail(), warn=print)

    with ExitStack() as all_at_once:
        for number in range(13):
            all_at_once.enter_context(budget(number).changing()).used += number
    assert [budget(number).look().used for number in range(13)] == list(range(13))


def test_each_address_host_and_market_has_a_budget(postgres: str) -> None:
    def budget(egress: str, name: str) -> PostgresBudget:
        return PostgresBudget(name, url=postgres, egress=egress, lost=lambda: pytest.fail(), warn=print)

    for used, (egress, name) in enumerate([("a", "spot"), ("a", "futures"), ("b", "spot")], 1):
        with budget(egress, name).changing() as changed:
            changed.used += used
    assert [budget(*which).look().used for which in (("a", "spot"), ("a", "futures"), ("b", "spot"))] == [1, 2, 3]


def test_what_the_exchange_refuses_to_one_is_closed_to_all_by_the_clock_of_the_database(postgres: str) -> None:
    # The exchange's clock is an hour off here: it has no say in how long a refusal lasts.
    one, other = governor_of(postgres), governor_of(postgres, clock_s=lambda: time.time() + 3600)
    elsewhere = governor_of(postgres, "home")
    one.close_for(100)
    one.close_for(5)
    for governor in (one, other):
        assert 90 < governor.closed_s() <= 100
        assert not governor.try_to_pay(1)
    assert elsewhere.try_to_pay(1)
    with pytest.raises(Banned, match="for 3600 s more"):
        other.close_for(3600)
    with pytest.raises(Banned):
        one.pay(0, Impatience())
    assert (one.spent, other.spent) == (0, 0)


# --- a database that does not answer


@pytest.mark.parametrize("url", [SECRET, SECRET.replace("127.0.0.1:1", "no.such.host.invalid:5432")])
def test_without_the_database_nobody_pays_and_no_password_is_told(url: str) -> None:
    warnings: list[str] = []
    governor = governor_of(url, warn=warnings.append)
    for _ in range(3):
        with pytest.raises(BudgetUnavailable) as refused:
            governor.pay(1, threading.Event(), until_s=time.monotonic())
    [warning] = warnings
    for text in (str(refused.value), warning):
        assert "budget in Postgres" in text and "\n" not in text
        assert "cret" not in text
    assert "try again" in str(refused.value)
    assert (governor.used(), governor.spent, governor.closed_s()) == (0, 0, 0)


def test_a_database_that_does_not_answer_is_told_once_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    warnings: list[str] = []
    host = f"{'long' * 100}.invalid"
    url = f"postgresql://somebody:se%20cret@{host}/nowhere?connect_timeout=2"
    budget = PostgresBudget("spot", url=url, egress="office", lost=lambda: pytest.fail(), warn=warnings.append)
    for _ in range(2):
        with pytest.raises(BudgetUnavailable) as refused:
            budget.look()
    [logged] = [record.getMessage() for record in caplog.records]
    told = re.fullmatch(r"the request-weight budget in Postgres cannot be reached \((.*)\)", logged)
    assert told and "longlong" in told[1] and len(told[1]) <= 200
    assert warnings == [f"{logged}; no request is sent until it can"]
    assert str(refused.value).startswith(f"{logged}; check that Postgres runs")


def test_who_waits_for_the_database_is_stopped_at_once() -> None:
    assert governor_of(SECRET).pay(1, Impatience()) == 0


@pytest.mark.parametrize("url", ["se cret", "postgresql://somebody:se%20cret@host:port/nowhere"])
def test_an_url_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="dagster.yaml") as refused:
        governor_of(url)
    assert "cret" not in str(refused.value)


def test_a_load_waits_while_the_database_is_away_and_sends_nothing_meanwhile(
    postgres: str, link: Link, simulate: Simulate
) -> None:
    running = simulate(rtt_ms=20)
    fortnight = span("2024-05-01", "2024-05-15")
    url = sa.make_url(postgres).set(host="127.0.0.1", port=link.port).render_as_string(hide_password=False)
    seen: list[int] = []

    def cut_once() -> None:
        link.cut()
        time.sleep(1)  # what was paid before is sent
        seen.append(running.exchange.stats()["futures"]["requests"])
        time.sleep(2)
        seen.append(running.exchange.stats()["futures"]["requests"])
        link.mend()

    cutting = threading.Thread(target=cut_once)

    def cut(request: Any) -> None:
        if is_page(request) and not cutting.ident:
            cutting.start()

    running.exchange.hooks.append(cut)
    budget_of = partial(PostgresBudget, url=url, egress="office")
    with closing(open_source("rest", Market.FUTURES, "BTC/USDT", budget_of=budget_of, base_url=running.url)) as source:
        source.life()
        rows = sum(page.klines.num_rows for page in source.pages([fortnight]))
        cutting.join()
        assert rows == len(minutes(fortnight))
        [warning] = source.warnings
        assert "no request is sent until it can" in warning
        usage, sent = source.usage(), counted(running.exchange, "futures")["used_weight_1m"]
        assert usage.spent == sent
        # A payment whose answer was lost is paid again, so the budget may be charged more than was sent, never less.
        assert sent <= usage.used <= sent + 10
    assert seen[0] == seen[1] < counted(running.exchange, "futures")["requests"]
