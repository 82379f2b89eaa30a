"""Runs are interrupted while they write to the database: what is written is whole, and nobody is locked out."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from market_data_pipeline.instance.events.batches import ALREADY_RECORDED
from market_data_pipeline.instance.events.interrupts import uninterrupted
from market_data_pipeline_tests.instance.storages import Database, Postgres, Sqlite
from market_data_pipeline_tests.instance.test_storage import DAYS, KEY, loaded, record_all, recorded, run, statuses
from market_data_pipeline_tests.servers import postgres_database

FIRST, LAST = "2020-01-01", "2020-01-20"


@contextmanager
def interrupted(at: str, number: int) -> Iterator[list[str]]:
    """Interrupt the main thread at the statement with this number; the statements so far."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)
        if len(seen) == number:
            signal.raise_signal(signal.SIGINT)

    sa.event.listen(sa.Engine, at, note)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, at, note)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    home = tmp_path / "home"
    home.mkdir()
    if request.param == "sqlite":
        yield Sqlite(home)
        return
    with postgres_database() as url:
        yield Postgres(home, url)


@pytest.mark.parametrize("at", ["before_cursor_execute", "after_cursor_execute"])
def test_days_are_recorded_whenever_the_run_is_interrupted_meanwhile(
    database: Database, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []

    def recording(number: int) -> list[Any]:
        @dg.asset(key=KEY, partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
        def klines_1m(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            with interrupted(at, number) as seen:
                record_all(context, [loaded(day) for day in context.partition_keys])
            # Nothing is left to interrupt.
            ended.append(len(seen))
            return dg.MaterializeResult(metadata=dict(ALREADY_RECORDED))

        return [klines_1m]

    number = 0
    with database.opened(monkeypatch) as instance:
        while not ended:
            number += 1
            with suppress(KeyboardInterrupt):
                run(instance, recording(number), FIRST, LAST)
            assert len(recorded(instance)) == number * 20, f"interrupted at statement {number}"
            assert statuses(instance, FIRST, LAST) == ["MATERIALIZED", "MATERIALIZED"]
            assert [each.is_finished for each in instance.get_runs(limit=1)] == [True]
    assert ended[0] == number - 1 >= 4


def test_an_interrupt_waits_for_the_outermost_block_and_is_not_lost() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        with uninterrupted():
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
                steps.append("inner")
            steps.append("outer")
        steps.append("after")
    assert steps == ["inner", "outer"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_error_in_the_block_does_not_hide_the_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, uninterrupted():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("of the block")
    assert isinstance(caught.value.__context__, ValueError)
