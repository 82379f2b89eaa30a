"""The storage of the Dagster instance: whether it can be reached, and which checks failed last in it.

Belongs here: the home's `dagster.yaml`, and its database, SQLite or Postgres. Does not belong here: what a failed check
means (`instance.events.failed`), other errors (`errors`). Dagster, which takes seconds, is not imported.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from market_data_pipeline.app.doctor.lines import Line, of_error
from market_data_pipeline.app.doctor.secrets import Secrets, passwords_of
from market_data_pipeline.app.health import dagster_sign
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.sources.budgets.engine import WHAT_TO_CHECK, engine_to, is_set_wrong
from market_data_pipeline.core.store.layout import owner_of
from market_data_pipeline.core.text import count_text, one_line, size_text
from market_data_pipeline.instance.budgets import postgres_url
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.instance.events.failed import FailedCheck, failed_checks
from market_data_pipeline.instance.home import EVENT_INDEX, INSTANCE_FILE
from market_data_pipeline.instance.names import CHECKS, KLINES, asset_path_of_folder, dataset_of_asset
from market_data_pipeline.settings import Settings

SECTION = "dagster"
LATE = "check that the database of the Dagster instance is up, and see dagster.yaml in DAGSTER_HOME"
_TABLE = "asset_check_executions"
_MOST_CHECKS, _MOST_CHARACTERS = 10, 300
_REPAIR = "run market-data verify --repair, then start the job proof"
# A comparison with another source, a `dataset.json` that cannot be read, or the check of a user: no repair mends them.
_SEE = "do what its result in Dagster says, then start the job proof"


def storage(settings: Settings) -> Iterator[Line]:
    """Whether the home's settings can be read and its database answers; then the checks that failed."""
    sign = dagster_sign(settings.home)
    if not sign.ok:
        detail, _, cure = sign.detail.partition("; ")
        yield Line(SECTION, "home", detail, cure or f"correct {settings.home / INSTANCE_FILE}")
        return
    url = None
    try:
        url = postgres_url(settings.home)
        with database(settings.home, url, EVENT_INDEX) as connection:
            if connection is None:
                yield Line(SECTION, "storage", sign.detail)
                return
            yield Line(SECTION, "storage", _shown(connection, url, settings.home))
            if url is None or sa.inspect(connection).has_table(_TABLE):
                yield from _checks(_of_stored(failed_checks(connection), settings))
            else:
                yield Line(
                    SECTION, "last results", "none: no tables there yet, the first process of Dagster makes them"
                )
    except MarketDataError as error:
        yield of_error(SECTION, "storage", error, LATE)
    except (sa.exc.SQLAlchemyError, OSError) as error:
        text = Secrets(passwords_of(url)).without(str(getattr(error, "orig", None) or error))
        reason = one_line(text, _MOST_CHARACTERS)
        cure = WHAT_TO_CHECK if is_set_wrong(error) else LATE
        yield Line(SECTION, "storage", f"the database cannot be used: {reason}", cure)


@contextmanager
def database(home: Path, url: str | None, file: Path) -> Iterator[sa.Connection | None]:
    """The database for reading: Postgres at `url`, else SQLite in this file of the home. None if there is none yet."""
    if url is None and not (home / file).exists():
        yield None
        return
    engine = engine_to(url, "doctor", pool_size=1) if url else _reading(home / file)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _reading(path: Path) -> sa.Engine:
    """A SQLite database that is not made if it is not there."""
    address = f"{path.absolute().as_uri()}?mode=ro"
    return sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=sa.pool.NullPool)


def _shown(connection: sa.Connection, url: str | None, home: Path) -> str:
    if url is None:
        size = (home / EVENT_INDEX).stat().st_size
        return f"SQLite in {home}, index of {size_text(size)}"
    version = str(connection.scalar(sa.text("SHOW server_version"))).partition(" ")[0]
    place: Any = getattr(connection.connection.driver_connection, "info", None)  # the URL may leave them to libpq
    return f"Postgres {version} at {place.host}:{place.port}, database {place.dbname}"


def _of_stored(failed: list[FailedCheck], settings: Settings) -> list[FailedCheck]:
    """Without the checks of datasets that were deleted: nothing evaluates them any more."""
    try:
        files = store_of(settings).dataset_files() if failed else []
    except (MarketDataError, OSError):  # which is told of under places
        return failed
    if not files:  # maybe a disk that is not mounted
        return failed
    there = {tuple(asset_path_of_folder(*owner_of(path), KLINES)[:2]) for path in files}
    return [check for check in failed if (dataset := dataset_of_asset(check.asset)) is None or dataset in there]


def _checks(failed: list[FailedCheck]) -> Iterator[Line]:
    for check in [each for each in failed if each.is_error][:_MOST_CHECKS]:
        cure = _REPAIR if check.name in CHECKS else _SEE
        yield Line(SECTION, f"check {check.name}", f"{check.asset} failed at {iso(check.at_ms)}", cure)
    errors = sum(each.is_error for each in failed)
    if errors > _MOST_CHECKS:
        yield Line(SECTION, "checks", f"{errors - _MOST_CHECKS} more failed", "see them on the browse page")
    warned = len(failed) - errors
    text = (
        f"{count_text(errors, 'check')} failed, {count_text(warned, 'warning')}" if failed else "no check failed last"
    )
    yield Line(SECTION, "last results", text)
