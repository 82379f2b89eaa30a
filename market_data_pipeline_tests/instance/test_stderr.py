"""What is printed while a run goes on: that of other threads at once, that of the run at its end or, refused, never."""

import sqlite3
import sys
import threading
from contextlib import suppress

import pytest
from rich.console import Console
from rich.live import Live

from market_data_pipeline.instance.events.stderr import held_unless_refused


class Run:
    """A run in a thread of its own that prints a line, and ends when it is told how."""

    def __init__(self) -> None:
        self._begun, self._told, self._error = threading.Event(), threading.Event(), None
        self._thread = threading.Thread(target=self._go)
        self._thread.start()
        assert self._begun.wait(60)

    def end(self, error: Exception | None = None) -> None:
        self._error = error  # type: ignore[assignment]
        self._told.set()
        self._thread.join()

    def _go(self) -> None:
        with suppress(sqlite3.Error), held_unless_refused():
            print("line of the run", file=sys.stderr)
            self._begun.set()
            assert self._told.wait(60)
            if self._error:
                raise self._error


def test_other_threads_are_heard_at_once_and_the_run_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run()
    print("line of another thread", file=sys.stderr)
    assert capsys.readouterr().err == "line of another thread\n"
    run.end()
    assert capsys.readouterr().err == "line of the run\n"


def test_a_refused_run_takes_its_own_lines_alone_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run()
    print("line of another thread", file=sys.stderr)
    run.end(sqlite3.OperationalError("disk I/O error"))
    assert capsys.readouterr().err == "line of another thread\n"


def test_runs_that_overlap_leave_stderr_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr
    first, second = Run(), Run()
    first.end()
    assert capsys.readouterr().err == "line of the run\n"
    second.end()
    assert sys.stderr is before
    assert capsys.readouterr().err == "line of the run\n"


def test_a_program_without_stderr_runs_as_one_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    run = Run()
    sys.stderr.write("line of another thread")
    run.end()
    assert sys.stderr is None


def test_a_table_of_rich_is_drawn_while_a_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(stderr=True, force_terminal=True)
    with Live("table", console=console, auto_refresh=False) as live:
        run = Run()
        live.update("table of the next minute", refresh=True)
        print("line of another thread", file=sys.stderr)
        said = capsys.readouterr().err
        assert "table of the next minute" in said and "line of another thread" in said
        run.end()
    assert "line of the run" in capsys.readouterr().err
