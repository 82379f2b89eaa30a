"""A budget of request weight, and the interface of a place that processes share it in.

Belongs here: the value, the protocol, a budget's name. Does not belong here: any particular place.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from pydantic import Field


@dataclass(slots=True)
class Budget:
    """What is spent: `used` weight of the exchange's `minute` (since 1970), and until when no request may be sent.

    `now_s` is when this was read. It and `closed_until_s` are of the clock of the place, which is the same for all who
    share the budget, in seconds since 1970. The limits are far beyond every real value.
    """

    minute: Annotated[int, Field(ge=0, le=10**9)]
    used: Annotated[int, Field(ge=0, le=10**9)]
    closed_until_s: Annotated[float, Field(ge=0, le=10**11, allow_inf_nan=False)]
    now_s: Annotated[float, Field(exclude=True)] = field(default=0.0, compare=False)

    @classmethod
    def unspent(cls) -> "Budget":
        """A budget of which nothing is spent."""
        return cls(0, 0, 0.0)


class SharedBudget(Protocol):
    """The place of one budget. Threads may share it."""

    @property
    def patience_s(self) -> float:
        """How long it is worth trying again where the place cannot be reached."""
        ...

    def open(self) -> None:
        """Share the budget from now on, if it was not before, with what was counted in this process so far."""
        ...

    def look(self) -> Budget:
        """The budget as it is now, without a lock.

        Raises:
            BudgetUnavailable: the place cannot be reached.
        """
        ...

    def changing(self) -> AbstractContextManager[Budget]:
        """Lock the budget for this thread of this process; save it after the block if it changed.

        Raises:
            BudgetUnavailable: the place cannot be reached. If it was lost in the block, it is unknown whether the
                change was saved.
        """
        ...


BudgetOf = Callable[..., SharedBudget]
"""Returns the place of the budget with a name, its argument.

The others are `lost`, which gives the budget to go on with where what is kept is damaged, and `warn`, called with one
line if the place cannot be used.
"""


def budget_name(host: str, market: str) -> str:
    """The name of the budget of an exchange's host and a market."""
    return f"{re.sub(r'[^A-Za-z0-9.-]', '_', host)}_{market}"
