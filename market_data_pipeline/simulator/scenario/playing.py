"""A scenario ready to be played, and the file that it is read from.

Belongs here: from a document or a file to lives and failures, and noticing that the file changed. Does not belong here:
the endpoints, and the clock that a scenario starts (`exchange`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from market_data_pipeline.simulator.data.lives import Lives
from market_data_pipeline.simulator.scenario.failures import Failures
from market_data_pipeline.simulator.scenario.format import ScenarioError, check, read_json
from market_data_pipeline.simulator.scenario.lives import ScenarioLives


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a scenario changes of an exchange; its clock goes on if `now` is None."""

    lives: Lives
    failures: Failures
    now: datetime | None
    speed: float | None


def scenario_of(document: Mapping[str, Any]) -> Scenario:
    """Return the scenario that a document tells.

    Raises:
        ScenarioError: a key is unknown, or a value is not what its key takes.
    """
    spec = check(document)
    now = None if spec.now is None else datetime.fromtimestamp(spec.now / 1000, UTC)
    return Scenario(ScenarioLives(spec), Failures(spec.fail), now, spec.speed)


class ScenarioFile:
    """The file of a scenario."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self.path = path
        self._seen: tuple[int, int, int] | None = None

    def read_if_changed(self) -> Scenario | None:
        """Return the scenario if the file is another one than at the last call, also if that failed.

        Raises:
            ScenarioError: the file cannot be read, or is no scenario.
        """
        try:
            found = self.path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return None
            self._seen = seen
            document = read_json(self.path.read_text(encoding="utf-8"))
            return scenario_of(document)
        except OSError as error:
            raise ScenarioError(f"{self.path}: cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise ScenarioError(f"{self.path}: is not UTF-8") from None
        except ScenarioError as error:
            raise ScenarioError(f"{self.path}: {error}") from None
