"""The progress of a load or a report on stderr: a bar in a terminal, else a line every few seconds.

Belongs here: days done, klines per second, time left, request weight used. Does not belong here: what was done in the
end (`reports`).
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from market_data_pipeline.app.report import ReportedOne
from market_data_pipeline.cli.console import failed_line, plain_console, styled, talk
from market_data_pipeline.cli.lines.loads import DayLines
from market_data_pipeline.cli.lines.others import DatasetLines
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.text import count_text

LOG_EVERY_S = 10.0
_TOLD_EVERY_S = 5.0


class Log:
    """Lines of a progress where there is no terminal: one every few seconds and, if there was any, one at the end.

    Without the last one, the log of a load that went well ends with how far it was seconds before.
    """

    def __init__(self, console: Console, line: Callable[[], str]) -> None:
        """Print nothing yet; `line` gives what there is to print."""
        self._console, self._line = console, line
        self._is_begun = self._is_stale = False
        self._told_s = time.monotonic()

    def note(self) -> None:
        """Print how far it is, if it is time and this is no terminal with a bar."""
        self._is_stale = True
        if not self._console.is_interactive and time.monotonic() - self._told_s >= LOG_EVERY_S:
            self._print()

    def end(self) -> None:
        """Print how far it came, if the lines before tell less."""
        if self._is_begun and self._is_stale:
            self._print()
        self._is_begun, self._told_s = False, time.monotonic()

    def _print(self) -> None:
        self._is_begun, self._is_stale, self._told_s = True, False, time.monotonic()
        self._console.print(self._line())


@contextmanager
def day_progress(*, as_json: bool = False) -> "Iterator[DayProgress | DayLines]":
    """A progress display that is removed when the block ends, or JSON lines."""
    progress = DayLines() if as_json else DayProgress()
    try:
        yield progress
    finally:
        progress.stop()


class DayProgress:
    """The progress of one load after another, by day."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._bar = Progress(
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("days {task.fields[what]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._name = ""
        self._source: KlineSource | None = None
        self._total = self._days = self._klines = 0
        self._error: str | None = None
        self._started_at = time.monotonic()
        self._log = Log(self._console, self._line)

    def on_start(self, dataset: Dataset, days: int, source: KlineSource) -> None:
        """Show a load of this many days as begun; `source` is asked for the weight used."""
        self._end_log()
        self._source, self._name, self._total = source, dataset.name, days
        self._days = self._klines = 0
        self._started_at = time.monotonic()
        if self._console.is_interactive:
            self._console.print(f"loading {dataset.name}: {count_text(days, 'day')}")
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(dataset.name, total=days, what="starting")
            self._bar.start()

    def on_day(self, result: DayResult) -> None:
        """Count a day as done, and print its error if it failed for another reason than the failed day before."""
        self._days += 1
        if result.outcome is Outcome.LOADED and result.entry:
            self._klines += result.entry.rows
        if result.outcome is Outcome.FAILED and result.error != self._error:
            self._error = result.error
            self._console.print(styled((f"{result.day.key} failed:", "red"), f" {result.error}"))
        if self._task is not None:
            what = "checking" if self._days == self._total else self._figures()
            self._bar.update(self._task, advance=1, what=what)
        self._log.note()

    def stop(self) -> None:
        """Remove the bar, and close the console, of which nothing is used afterwards."""
        self._end_log()
        if self._task is not None:
            self._bar.stop()
        if self._console is not talk:
            self._console.file.close()

    def _end_log(self) -> None:
        self._source = None  # it is closed by now
        self._log.end()

    def _line(self) -> str:
        return f"{self._name}: {self._days} of {count_text(self._total, 'day')}, {self._figures()}"

    def _figures(self) -> str:
        rate = self._klines / max(0.001, time.monotonic() - self._started_at)
        usage = self._source.usage() if self._source else None
        weight = f" weight {usage.used}/{usage.limit}" if usage else ""
        return f"{self._klines:,} klines {rate:,.0f}/s{weight}"


@contextmanager
def asking(market: Market) -> Iterator[Callable[[int, int], None]]:
    """Tell on stderr how far a refresh of the catalog is, if it takes long: the first one asks about every pair."""
    told_s = time.monotonic()

    def on_pairs(done: int, total: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= _TOLD_EVERY_S:
            told_s = time.monotonic()
            talk.print(f"learning the pairs of {market}: {done:,} of {total:,}")

    yield on_pairs


def stderr_console() -> Console:
    """A console on a copy of stderr, because Dagster redirects stderr itself into the log of the step that runs."""
    try:
        file = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors="replace")
    except (OSError, ValueError, AttributeError):
        return talk
    return plain_console(file=file, soft_wrap=True)


@contextmanager
def dataset_progress(*, as_json: bool = False) -> "Iterator[DatasetProgress | DatasetLines]":
    """A progress display that is removed when the block ends, or JSON lines."""
    progress = DatasetLines() if as_json else DatasetProgress()
    try:
        yield progress
    finally:
        progress.stop()


class DatasetProgress:
    """The progress of a report to Dagster, by dataset."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._bar = Progress(
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("datasets, {task.fields[told]:,} days told", markup=False),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("datasets", total=0, told=0)
        self._datasets = self._done = self._told = 0
        self._log = Log(self._console, self._line)

    def on_start(self, datasets: int) -> None:
        """Show that so many datasets are to be compared."""
        self._datasets = datasets
        self._bar.update(self._task, total=datasets)
        if self._console.is_interactive:
            self._bar.start()

    def on_dataset(self, reported: ReportedOne) -> None:
        """Count a dataset as done, and print why it could not be read."""
        self._done, self._told = self._done + 1, self._told + reported.told
        if reported.problem:
            self._console.print(failed_line(reported.name, reported.problem))
        self._bar.update(self._task, completed=self._done, told=self._told)
        self._log.note()

    def stop(self) -> None:
        """Remove the bar, and close the console, of which nothing is used afterwards."""
        self._log.end()
        if self._console.is_interactive:
            self._bar.stop()
        if self._console is not talk:
            self._console.file.close()

    def _line(self) -> str:
        return f"{self._done} of {count_text(self._datasets, 'dataset')}, {count_text(self._told, 'day')} told"
