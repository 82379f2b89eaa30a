"""Programs that spend from one budget in Postgres, for tests that run several at once. Imports little: they are many.

Belongs here: what a process does. Does not belong here: assertions.
"""

import sys
import threading
import time
from functools import partial
from typing import Any

from market_data_pipeline.core.sources.budgets.postgres import PostgresBudget
from market_data_pipeline.core.sources.governor import Governor

MINUTE = 28_000_000
NOW_S = MINUTE * 60 + 30.0


class Impatience(threading.Event):
    """A stop signal that whoever has to wait gives himself."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def governor_of(url: str, egress: str = "office", **options: Any) -> Governor:
    """A governor of 95 weight a minute, whose minute does not end."""
    budget_of = partial(PostgresBudget, url=url, egress=egress)
    return Governor("spot", budget_of, **{"weight_per_minute": 100, "clock_s": lambda: NOW_S, **options})


def spend_all(url: str, egress: str) -> None:
    """Pay until there is no room, from the moment that somebody writes to stdin; print what was spent."""
    governor, impatience = governor_of(url, egress), Impatience()
    print("ready", flush=True)
    sys.stdin.readline()
    while governor.pay(1, impatience):
        pass
    print(governor.spent)


def hold(url: str, egress: str) -> None:
    """Take the lock, and keep it until somebody kills this process."""
    budget = PostgresBudget("spot", url=url, egress=egress, lost=None, warn=print)  # type: ignore[arg-type]
    with budget.changing() as held:
        held.used += 50
        print("held", flush=True)
        time.sleep(600)


if __name__ == "__main__":
    {"spend_all": spend_all, "hold": hold}[sys.argv[1]](*sys.argv[2:])
