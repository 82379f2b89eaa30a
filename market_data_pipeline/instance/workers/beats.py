"""Which runs are alive of workers and commands: the process of each writes a beat to Postgres every few seconds.

Belongs here: the table of beats, and when a run without one counts as gone. Does not belong here: what becomes of it
(`launcher`, `worker`, `instance.runs`), which runs of commands have beats (`instance.alive`).

All times are the database's. A run whose beats stop is first noted as late, and is gone if it still is some seconds
after that: after the database was away, or a network was cut, whoever looks first must not be faster than the beat.
Who finds a run gone deletes its row. So a process that was only cut off or asleep learns it with its next beat.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import sqlalchemy as sa

from market_data_pipeline.core.sources.budgets.engine import engine_to
from market_data_pipeline.core.text import one_line

_log = logging.getLogger(__name__)

BEAT_S, LATE_S, STILL_LATE_S = 5, 30, 10
"""A beat each so many seconds; a run without one for so long is late; one still late after so long is gone."""

_LIMITS = "SET LOCAL lock_timeout = '8s'; SET LOCAL statement_timeout = '10s'; "
_TABLE = """
CREATE TABLE IF NOT EXISTS market_data_run_alive (
    run_id text PRIMARY KEY,
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    late_since timestamptz
)"""
_IS_THERE = "SELECT to_regclass('market_data_run_alive') IS NOT NULL"
# Of those who create a table at once, all but one get an error, also with IF NOT EXISTS. The number is of this table.
_ONE_CREATES = "SELECT pg_advisory_xact_lock(7265348190265); "
_FIRST = "INSERT INTO market_data_run_alive (run_id) VALUES (%(run)s) ON CONFLICT DO NOTHING"
_BEAT = "UPDATE market_data_run_alive SET beat_at = clock_timestamp(), late_since = NULL WHERE run_id = %(run)s"
_END = "DELETE FROM market_data_run_alive WHERE run_id = %(run)s"
# While the database was down nobody could write a beat.
_LOOK = f"""
UPDATE market_data_run_alive SET late_since = CASE
    WHEN clock_timestamp() - greatest(beat_at, pg_postmaster_start_time()) > interval '{LATE_S} s'
    THEN coalesce(late_since, clock_timestamp()) END
WHERE run_id = %(run)s
RETURNING coalesce(clock_timestamp() - late_since > interval '{STILL_LATE_S} s', false)"""


class HeldElsewhere(Exception):
    """Another process writes beats for the run, or did until it was killed."""


class Beats:
    """The beats of the runs of one Dagster instance in Postgres."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet.

        Args:
            url: the database of the instance, as Dagster and SQLAlchemy write it.

        Raises:
            UsageError: the URL is none, or a package is missing.
        """
        self._engine, self._has_table = engine_to(url, "run", poolclass=sa.NullPool), False

    def reach(self) -> None:
        """Connect, and make the table if there is none.

        Raises:
            sa.exc.SQLAlchemyError: the database cannot be used.
        """
        with self._begin():
            pass

    def begin(self, run_id: str, on_gone: Callable[[], None]) -> AbstractContextManager[None]:
        """Write the first beat of a run, and return the block that writes the others.

        Args:
            run_id: the run.
            on_gone: called in another thread when somebody has found the run gone.

        Raises:
            HeldElsewhere: another process writes beats for this run, or did until it was killed.
            sa.exc.SQLAlchemyError: the database takes no beat.
        """
        if not self._execute(_FIRST, run_id):
            raise HeldElsewhere(f"another process executes the run {run_id}")
        return self._beating(run_id, on_gone)

    @contextmanager
    def _beating(self, run_id: str, on_gone: Callable[[], None]) -> Iterator[None]:
        ended = threading.Event()
        thread = threading.Thread(target=self._go_on, args=(run_id, ended, on_gone), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(BEAT_S)
            with suppress(sa.exc.SQLAlchemyError):  # without it the run is late in half a minute
                self._execute(_END, run_id)

    def is_alive(self, run_id: str) -> bool:
        """Whether a process executes the run; one that is late counts as alive until it is found late again.

        Raises:
            sa.exc.SQLAlchemyError: the database does not answer.
        """
        with self._begin() as connection:
            row = connection.exec_driver_sql(_LIMITS + _LOOK, {"run": run_id}).one_or_none()
            if row is not None and row[0]:
                connection.exec_driver_sql(_END, {"run": run_id})
        return row is not None and not row[0]

    def _go_on(self, run_id: str, ended: threading.Event, on_gone: Callable[[], None]) -> None:
        said = False
        while not ended.wait(BEAT_S):
            try:
                there = self._execute(_BEAT, run_id)
            except sa.exc.SQLAlchemyError as error:
                if not said:
                    reason = one_line(str(getattr(error, "orig", None) or error), 200)
                    _log.warning("Postgres takes no beat of run %s (%s); it goes on", run_id, reason)
                said = True
                continue
            said = False
            if not there:
                if not ended.is_set():
                    on_gone()
                return

    def _execute(self, statement: str, run_id: str) -> int:
        with self._begin() as connection:
            return connection.exec_driver_sql(_LIMITS + statement, {"run": run_id}).rowcount

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            if not self._has_table and not connection.exec_driver_sql(_LIMITS + _IS_THERE).scalar():
                connection.exec_driver_sql(_ONE_CREATES + _TABLE)
            yield connection
        self._has_table = True
