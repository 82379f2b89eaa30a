"""The options before the command: which market, which pairs, which zone.

Belongs here: what all commands share of them. Does not belong here: the commands, which command takes which
(`shell.taken`), which pairs a glob matches (`app.targets`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from market_data_pipeline.cli.shell.taken import refusal

if TYPE_CHECKING:
    from market_data_pipeline.app.targets import Target
    from market_data_pipeline.core.klines.dataset import Market
    from market_data_pipeline.core.store.universes import Universe
    from market_data_pipeline.settings import Settings


@dataclass(frozen=True)
class GlobalOptions:
    """The options before the command; `pairs` are the words of each `--pair`, `universe` names one of the data root."""

    market: str | None = None
    pairs: tuple[str, ...] = ()
    pairs_file: Path | None = None
    universe: str | None = None
    align_tz: str | None = None
    strict_pair: bool = False

    def targets(
        self, settings: "Settings", among: "Callable[[Settings, Market], Iterable[str]] | None" = None
    ) -> "list[Target]":
        """The datasets that the options name, one target for each; the settings give what is left out.

        Args:
            settings: the defaults.
            among: gives the pairs that globs choose among; those that are stored if None.

        Raises:
            UsageError: a pair cannot be parsed, a glob matches nothing, a pair is named twice, or as `chosen`.
        """
        from market_data_pipeline.app.targets import target_of, targets_of

        market, zone, words = self.parts(settings)
        if not words:
            return [target_of(settings, market, None, zone)]
        return targets_of(settings, market, words, zone, among=among)

    def parts(self, settings: "Settings") -> tuple[str | None, str | None, list[str]]:
        """Market, zone and words, with those of the universe.

        Raises:
            UsageError: as `chosen` and `words`.
        """
        if universe := self.chosen(settings):
            return universe.market.value, self.align_tz or universe.zone, [*universe.pairs, *self.words()]
        return self.market, self.align_tz, self.words()

    def require_taken(self, command: str) -> None:
        """Refuse what has no effect on the command, or on a way of it such as `verify --snapshot`.

        Raises:
            UsageError: such an option is given.
        """
        from market_data_pipeline.core.errors import UsageError

        for field in fields(self):
            option = "--pair" if field.name == "pairs" else f"--{field.name.replace('_', '-')}"
            if getattr(self, field.name) and (why := refusal(command, option)):
                raise UsageError(why)

    def words(self) -> list[str]:
        """What the user wrote of pairs, on the command line and in a file.

        Raises:
            UsageError: the file cannot be read.
        """
        from market_data_pipeline.app.targets import words_of_file

        return [*self.pairs, *(words_of_file(self.pairs_file) if self.pairs_file else [])]

    def chosen(self, settings: "Settings") -> "Universe | None":
        """The universe that the options name, None if they name none.

        Raises:
            UsageError: there is no such universe, or it is one of another market than the options name.
        """
        if self.universe is None:
            return None
        from market_data_pipeline.core.klines.dataset import parse_market
        from market_data_pipeline.core.store.universes import find_universe

        universe = find_universe(settings.root, self.universe)
        if self.market is not None:
            universe.refuse_other(parse_market(self.market), "--market")
        return universe
