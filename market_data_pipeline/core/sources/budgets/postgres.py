"""A budget in a row of Postgres, which the processes of many hosts share that send from one address.

Belongs here: the table, its row and its lock, and how long a database that does not answer is waited for. Does not
belong here: how much may be spent, and when (`sources.governor`), which database it is (`instance.budgets`).

The row is locked for the two statements of a change. The lock ends with the connection, so that of a process that was
killed is free at once, and the server ends the connection of one that hangs. Hosts' clocks differ, so the clock of a
refusal (`Budget.now_s`) is the database's.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import sqlalchemy as sa

from market_data_pipeline.core.errors import BudgetUnavailable, UsageError
from market_data_pipeline.core.sources.budgets.budget import Budget
from market_data_pipeline.core.sources.budgets.engine import WHAT_TO_CHECK, engine_to, is_set_wrong
from market_data_pipeline.core.text import one_line

_log = logging.getLogger(__name__)

# A restart of Postgres is waited out. A database that never answered has a wrong address, or is not there.
_PATIENCE_S, _PATIENCE_BEFORE_FIRST_ANSWER_S = 60.0, 10.0
# All threads of a process would wait for the same connection, one after the other.
_KNOWN_TO_BE_GONE_S = 0.5
# Of one transaction each, as a proxy such as PgBouncer gives connections on. Who hangs loses the lock before others
# lose their patience.
_LIMITS = (
    "SET LOCAL idle_in_transaction_session_timeout = '4s'; SET LOCAL lock_timeout = '8s'; "
    "SET LOCAL statement_timeout = '10s'; "
)
_TABLE = """
CREATE TABLE IF NOT EXISTS market_data_budget (
    egress text, name text,
    minute bigint NOT NULL DEFAULT 0 CHECK (minute >= 0),
    used bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    closed_until timestamptz NOT NULL DEFAULT 'epoch',
    PRIMARY KEY (egress, name)
)"""
_IS_THERE = "SELECT to_regclass('market_data_budget') IS NOT NULL"
# Of those who create a table at once, all but one get an error, also with IF NOT EXISTS. The number is of this table.
_ONE_CREATES = "SELECT pg_advisory_xact_lock(7265348190264); "
_OF_ROW = "WHERE egress = %(egress)s AND name = %(name)s"
_COLUMNS = "minute, used, closed_until"
_VALUES = (
    "SELECT minute, used, extract(epoch FROM closed_until)::float8, extract(epoch FROM clock_timestamp())::float8 FROM "
)
_LOOK = f"{_LIMITS}{_VALUES} market_data_budget {_OF_ROW}"
# The clock is read after the wait for the lock.
_LOCK = (
    f"{_LIMITS}WITH locked AS MATERIALIZED (SELECT {_COLUMNS} FROM market_data_budget {_OF_ROW} FOR UPDATE) "
    f"{_VALUES} locked"
)
_NEW_ROW = "INSERT INTO market_data_budget (egress, name) VALUES (%(egress)s, %(name)s) ON CONFLICT DO NOTHING"
_SAVE = (
    "UPDATE market_data_budget SET minute = %(minute)s, used = %(used)s, closed_until = to_timestamp(%(closed_until)s) "
    f"{_OF_ROW}"
)


class _Server:
    """The connections of this process to one database."""

    def __init__(self, url: str) -> None:
        # A budget uses one at a time. Those of a server that was restarted are noticed before they are used.
        self.engine = engine_to(url, "budget", pool_size=2, max_overflow=-1, pool_pre_ping=True)
        self.reads = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self.has_answered = False


@cache
def _server_of(url: str) -> _Server:
    return _Server(url)


class PostgresBudget:
    """The budget of one egress address, host and market in a row of Postgres. Threads may share it."""

    def __init__(
        self, name: str, *, url: str, egress: str, lost: Callable[[], Budget], warn: Callable[[str], None]
    ) -> None:
        """Connect to nothing yet.

        Args:
            name: the budget's name, see `budget_name`.
            url: the database, as Dagster and SQLAlchemy write it.
            egress: names the address that requests are sent from.
            lost: never called: a row is whole.
            warn: called with one line when the database cannot be reached any more.

        Raises:
            UsageError: the URL is none, or a package is missing.
        """
        del lost
        self._server = _server_of(url)
        self._row = {"egress": egress, "name": name}
        self._warn = warn
        self._threads = threading.Lock()
        self._has_table = False
        self._problem, self._gone_until_s = "", 0.0

    @property
    def patience_s(self) -> float:
        """See `SharedBudget.patience_s`."""
        return _PATIENCE_S if self._server.has_answered else _PATIENCE_BEFORE_FIRST_ANSWER_S

    def open(self) -> None:
        """See `SharedBudget.open`. It is shared from the first payment on."""

    def look(self) -> Budget:
        """See `SharedBudget.look`."""
        with self._reaching(), self._server.reads.connect() as connection:
            return self._read(connection, _LOOK) or Budget.unspent()

    @contextmanager
    def changing(self) -> Iterator[Budget]:
        """See `SharedBudget.changing`."""
        with self._reaching(), self._server.engine.begin() as connection:
            budget = self._read(connection, _LOCK) or self._new(connection)
            saved = replace(budget)
            yield budget
            if budget != saved:
                values = {"minute": budget.minute, "used": budget.used, "closed_until": budget.closed_until_s}
                connection.exec_driver_sql(_SAVE, values | self._row)

    def _read(self, connection: sa.Connection, statement: str) -> Budget | None:
        found = connection.exec_driver_sql(statement, self._row).one_or_none()
        return None if found is None else Budget(*found)

    def _new(self, connection: sa.Connection) -> Budget:
        """The row, locked, which this process or another one at the same time has created."""
        connection.exec_driver_sql(_NEW_ROW, self._row)
        return Budget(*connection.exec_driver_sql(_LOCK, self._row).one())

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Let one thread use the database, and turn its errors into one line.

        Raises:
            BudgetUnavailable: it cannot be used.
            UsageError: it has never let this process in, and says that it will not.
        """
        with self._threads:
            if time.monotonic() < self._gone_until_s:
                raise BudgetUnavailable(self._problem)
            try:
                if not self._has_table:
                    self._create_table()
                yield
            except sa.exc.SQLAlchemyError as error:
                self._note_gone(error)
                # One that let this process in before may do so again.
                is_usage = is_set_wrong(error) and not self._server.has_answered
                raise (UsageError if is_usage else BudgetUnavailable)(self._problem) from error
            self._problem, self._server.has_answered = "", True

    def _create_table(self) -> None:
        with self._server.engine.begin() as connection:
            if not connection.exec_driver_sql(_LIMITS + _IS_THERE).scalar():
                connection.exec_driver_sql(_ONE_CREATES + _TABLE)
        self._has_table = True

    def _note_gone(self, error: sa.exc.SQLAlchemyError) -> None:
        reason = one_line(str(getattr(error, "orig", None) or error), 200)
        what = f"the request-weight budget in Postgres cannot be reached ({reason})"
        is_wrong = is_set_wrong(error)
        if not self._problem and (self._server.has_answered or not is_wrong):
            _log.warning("%s", what)
            self._warn(f"{what}; no request is sent until it can")
        cure = WHAT_TO_CHECK if is_wrong else "check that Postgres runs, then try again, finished days are kept"
        self._problem = f"{what}; {cure}"
        self._gone_until_s = time.monotonic() + _KNOWN_TO_BE_GONE_S
        self._has_table = False  # somebody may have dropped it
