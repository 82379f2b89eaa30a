"""The events of a load of many datasets at once.

Belongs here: `begun`, `failed`, `ended`, and `progress` once a second. Does not belong here: the result of the load
(`app.market.as_json`), loads of one dataset (`loads`).
"""

from market_data_pipeline.cli.lines.loads import Counted
from market_data_pipeline.cli.lines.writing import Lines
from market_data_pipeline.core.bulk.load import Begun, Ended, Message
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.core.sources.protocol import Usage


class BulkLines(Lines):
    """The events of a load of many datasets."""

    def __init__(self) -> None:
        """Write nothing yet."""
        super().__init__()
        self._pairs = self._ended = 0
        self._usage: Usage | None = None
        self._counted = Counted()
        self._names: dict[WindowRequest, str] = {}

    def on_start(self, pairs: int) -> None:
        """Tell that so many pairs are to be loaded."""
        self._pairs = pairs
        self.tell("begun", pairs=pairs)

    def on_message(self, request: WindowRequest, message: Message) -> None:
        """Tell of the begin and the end of each dataset, and of each failed day."""
        match message:
            case Begun():
                # As the result has it, however the user has written the pair.
                self._names[request] = message.dataset.name
                self.tell("begun", dataset=message.dataset.name, days=message.days)
            case DayResult():
                self._counted.note(message)
                if message.outcome is Outcome.FAILED:
                    self.tell("failed", dataset=self._name(request), day=message.day.key, error=message.error)
            case Usage():
                self._usage = message
            case Ended():
                self._ended += 1
                self.tell("ended", dataset=self._name(request), error=message.error)
        if self.is_due:
            told = self._counted.told(self._usage)
            self.tell("progress", pairs=self._ended, of_pairs=self._pairs, **told)

    def _name(self, request: WindowRequest) -> str:
        return self._names.get(request, request.name)
