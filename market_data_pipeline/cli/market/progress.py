"""The progress of a load of many datasets on stderr: a bar in a terminal, else a line every few seconds.

Belongs here: pairs and days done, klines and bytes per second, request weight, time left, the pairs that are loaded
now. Does not belong here: one dataset (`progress`), what the load did in the end (`reports`).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from market_data_pipeline.cli.console import failed_line, talk
from market_data_pipeline.cli.lines.bulk import BulkLines
from market_data_pipeline.cli.progress import Log, stderr_console
from market_data_pipeline.core.bulk.load import Begun, Ended, Message
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.core.sources.protocol import Usage
from market_data_pipeline.core.text import count_text, size_text

_MOST_NAMES = 3


@contextmanager
def bulk_progress(*, as_json: bool = False) -> "Iterator[BulkProgress | BulkLines]":
    """A progress display that is removed when the block ends, or JSON lines."""
    progress = BulkLines() if as_json else BulkProgress()
    try:
        yield progress
    finally:
        progress.stop()


class BulkProgress:
    """The progress of a load of many datasets."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._bar = Progress(
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("pairs {task.fields[what]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("pairs", total=None, what="choosing")
        self._pairs = self._ended = 0
        self._days = self._klines = self._bytes = 0
        self._now: dict[WindowRequest, tuple[int, int]] = {}
        self._usage: Usage | None = None
        self._started_at = time.monotonic()
        self._log = Log(self._console, self._line)
        if self._console.is_interactive:
            self._bar.start()

    def on_start(self, pairs: int) -> None:
        """Show that so many pairs are to be loaded."""
        self._pairs, self._started_at = pairs, time.monotonic()
        self._bar.update(self._task, total=pairs, what="starting")

    def on_message(self, request: WindowRequest, message: Message) -> None:
        """Count what is told about a dataset; print the errors."""
        match message:
            case Begun():
                self._now[request] = 0, message.days
            case DayResult():
                self._note_day(request, message)
            case Usage():
                self._usage = message
            case Ended():
                self._now.pop(request, None)
                self._ended += 1
                if message.error:
                    self._console.print(failed_line(request.name, message.error))
        self._show()

    def stop(self) -> None:
        """Remove the bar, and close the console, of which nothing is used afterwards."""
        self._log.end()
        if self._console.is_interactive:  # else rich would print an empty line
            self._bar.stop()
        if self._console is not talk:
            self._console.file.close()

    def _note_day(self, request: WindowRequest, result: DayResult) -> None:
        self._days += 1
        if request in self._now:
            done, of = self._now[request]
            self._now[request] = done + 1, of
        if result.outcome is Outcome.LOADED and result.entry:
            self._klines += result.entry.rows
            self._bytes += result.entry.size_bytes
        if result.outcome is Outcome.FAILED:
            self._console.print(failed_line(f"{request.name} {result.day.key}", result.error or ""))

    def _show(self) -> None:
        if self._console.is_interactive:
            self._bar.update(self._task, completed=self._ended, what=self._figures())
        self._log.note()

    def _line(self) -> str:
        return f"{self._ended} of {count_text(self._pairs, 'pair')}, {self._figures()}"

    def _figures(self) -> str:
        seconds = max(0.001, time.monotonic() - self._started_at)
        weight = f" weight {self._usage.used}/{self._usage.limit}" if self._usage else ""
        # The furthest from their end first.
        slow = sorted(self._now.items(), key=lambda item: item[1][0] - item[1][1])[:_MOST_NAMES]
        names = ", ".join(f"{request.pair} {done}/{of}" for request, (done, of) in slow)
        rates = f"{self._klines / seconds:,.0f} klines/s, {size_text(int(self._bytes / seconds))}/s"
        return f"{count_text(self._days, 'day')}, {rates}{weight}{f', now {names}' if names else ''}"
