"""The events of what is neither a load nor live mode: runs of the queue, a report to Dagster, servers.

Belongs here: their events. Does not belong here: `loads`, `live`, results (`app.as_json`, `app.market.as_json`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from market_data_pipeline.cli.lines.writing import Lines

if TYPE_CHECKING:
    from market_data_pipeline.app.report import ReportedOne
    from market_data_pipeline.instance.queue.parts import State


class RunLines(Lines):
    """The events of runs: `submitted` and `states`, once a second."""

    def on_submitted(self, done: int, total: int) -> None:
        """Tell how many runs were submitted."""
        if self.is_due or done == total:
            self.tell("submitted", runs=done, of_runs=total)

    def on_states(self, states: "Mapping[State, int]") -> None:
        """Tell how many runs are in which state."""
        if self.is_due:
            self.tell("states", states={state.value: count for state, count in states.items()})


class DatasetLines(Lines):
    """The events of a report to Dagster: `begun`, `dataset` for each that failed, `progress` once a second."""

    def __init__(self) -> None:
        """Write nothing yet."""
        super().__init__()
        self._datasets = self._done = self._told = 0

    def on_start(self, datasets: int) -> None:
        """Tell that so many datasets are to be compared."""
        self._datasets = datasets
        self.tell("begun", datasets=datasets)

    def on_dataset(self, reported: "ReportedOne") -> None:
        """Count a dataset as done, and tell why it could not be read."""
        self._done, self._told = self._done + 1, self._told + reported.told
        if reported.problem:
            self.tell("failed", dataset=reported.name, error=reported.problem)
        if self.is_due:
            self.tell("progress", datasets=self._done, of_datasets=self._datasets, told=self._told)


class ServiceLines(Lines):
    """The events of servers: `ready` with an address, and `said` and `warning` with what people would read."""

    def ready(self, url: str) -> None:
        """Tell that the server listens at this address."""
        self.tell("ready", url=url)

    def say(self, text: str) -> None:
        """Tell what is printed on stdout for people."""
        self.tell("said", text=text)

    def warn(self, text: str) -> None:
        """Tell what is printed on stderr for people."""
        self.tell("warning", text=text)
