"""Which runs count as alive where they are on many hosts: none that is alive as gone, none that is gone as alive."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress

import pytest
import sqlalchemy as sa

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.instance.workers.beats import LATE_S, STILL_LATE_S, Beats, HeldElsewhere
from market_data_pipeline_tests.servers import Link
from market_data_pipeline_tests.support import wait_until

RUN = "5f3c0c1e-6d0c-4b7e-9f67-5f1f6f1e51a1"


class Database:
    """The table of beats, in which time is made to pass."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def __call__(self, statement: str) -> list[sa.Row]:
        with self._engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []

    def pass_since_beat(self, seconds: int) -> None:
        self(f"UPDATE market_data_run_alive SET beat_at = beat_at - interval '{seconds} s'")

    def pass_since_late(self, seconds: int) -> None:
        self(f"UPDATE market_data_run_alive SET late_since = late_since - interval '{seconds} s'")


def held(beats: Beats) -> AbstractContextManager[None]:
    return beats.begin(RUN, on_gone=lambda: None)


@pytest.fixture
def database(postgres: str) -> Database:
    return Database(postgres)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_a_run_is_alive_from_its_first_beat_to_its_end(postgres: str) -> None:
    here, elsewhere = Beats(postgres), Beats(postgres)
    assert not elsewhere.is_alive(RUN)
    with held(here):
        assert elsewhere.is_alive(RUN)
    assert not elsewhere.is_alive(RUN)


def test_a_run_that_is_late_is_gone_at_the_second_look(postgres: str, database: Database, stack: ExitStack) -> None:
    beats = Beats(postgres)
    stack.enter_context(held(beats))
    database.pass_since_beat(LATE_S + 5)
    assert beats.is_alive(RUN)  # noted
    database.pass_since_beat(LATE_S + 5)
    database.pass_since_late(STILL_LATE_S - 2)
    assert beats.is_alive(RUN)
    database.pass_since_beat(LATE_S + 5)
    database.pass_since_late(STILL_LATE_S)
    assert not beats.is_alive(RUN)
    assert not beats.is_alive(RUN)


def test_a_beat_takes_the_note_away(postgres: str, database: Database, stack: ExitStack) -> None:
    beats = Beats(postgres)
    stack.enter_context(held(beats))
    database.pass_since_beat(LATE_S + 5)
    assert beats.is_alive(RUN)
    wait_until(lambda: database("SELECT late_since FROM market_data_run_alive")[0][0] is None)
    database.pass_since_late(2 * STILL_LATE_S)
    assert beats.is_alive(RUN)


def test_the_process_of_a_run_that_was_found_gone_learns_it(
    postgres: str, database: Database, stack: ExitStack
) -> None:
    beats, told = Beats(postgres), threading.Event()
    stack.enter_context(beats.begin(RUN, told.set))
    for seconds in (0, STILL_LATE_S + 5):
        database.pass_since_beat(LATE_S + 5)
        database.pass_since_late(seconds)
        alive = beats.is_alive(RUN)
    assert not alive
    wait_until(told.is_set)


def test_two_processes_do_not_execute_one_run(postgres: str) -> None:
    with held(Beats(postgres)), pytest.raises(HeldElsewhere, match=RUN), held(Beats(postgres)):
        pass
    with suppress(HeldElsewhere), held(Beats(postgres)):
        return
    pytest.fail("the run of a process that has ended is held")


def test_a_run_goes_on_while_the_database_is_away(
    postgres: str, link: Link, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    through = sa.make_url(postgres).set(host="127.0.0.1", port=link.port).render_as_string(hide_password=False)
    with Beats(through).begin(RUN, lambda: pytest.fail("it was not gone")):
        link.cut()
        wait_until(lambda: "takes no beat" in caplog.text)
        link.mend()
        database("UPDATE market_data_run_alive SET late_since = clock_timestamp()")
        wait_until(lambda: database("SELECT late_since FROM market_data_run_alive")[0][0] is None)
    assert [record.message.count("\n") for record in caplog.records] == [0]


def test_a_url_that_is_none_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="correct storage there"):
        Beats("postgresql://host:port/")
