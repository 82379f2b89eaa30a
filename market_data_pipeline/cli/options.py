"""The options before the command: which market, which pairs, which zone.

Belongs here: what all commands share of them. Does not belong here: the commands, which pairs a glob matches
(`app.targets`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from market_data_pipeline.app.targets import Target
    from market_data_pipeline.core.klines.dataset import Market
    from market_data_pipeline.settings import Settings


@dataclass(frozen=True)
class GlobalOptions:
    """The options before the command; `pairs` are the words of each `--pair`."""

    market: str | None = None
    pairs: tuple[str, ...] = ()
    pairs_file: Path | None = None
    align_tz: str | None = None
    strict_pair: bool = False

    def target(self, settings: "Settings") -> "Target":
        """The dataset that the options name; the settings give what is left out.

        Raises:
            UsageError: they name several, or it cannot be parsed.
        """
        from market_data_pipeline.core.errors import UsageError

        targets = self.targets(settings)
        if len(targets) > 1:
            raise UsageError(f"this command takes one pair, and {len(targets)} are named; give one --pair")
        return targets[0]

    def targets(
        self, settings: "Settings", among: "Callable[[Settings, Market], Iterable[str]] | None" = None
    ) -> "list[Target]":
        """The datasets that the options name, one target for each; the settings give what is left out.

        Args:
            settings: the defaults.
            among: gives the pairs that globs choose among; those that are stored if None.

        Raises:
            UsageError: a pair cannot be parsed, a glob matches nothing, or a pair is named twice.
        """
        from market_data_pipeline.app.targets import target_of, targets_of, words_of_file

        words = [*self.pairs, *(words_of_file(self.pairs_file) if self.pairs_file else [])]
        if not words:
            return [target_of(settings, self.market, None, self.align_tz)]
        return targets_of(settings, self.market, words, self.align_tz, among=among)
