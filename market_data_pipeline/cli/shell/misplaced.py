"""What a person is told who writes a word of the command line in the wrong place, or leaves one out.

Belongs here: which side of the command an option or a pair stands on, the values of a missing option, options with an
empty value. Does not belong here: the options themselves (`main`, the modules of the commands), other errors
(`outcome`).
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperGroup

from market_data_pipeline.cli.shell.taken import refusal

# Typer has click inside, or beside it, by its version, and names this class in neither.
_UsageError: Any = typer.BadParameter.__base__

_LONGEST_SENTENCE = 1000
_HELP = f"{__name__}.asks_for_help"


def asks_for_help(context: typer.Context) -> bool:
    """True if the command's help is asked for, whatever else is written."""
    return bool(context.meta[_HELP])


class Listed(TyperGroup):
    """Commands whose list in the help has the first sentence of each whole, however narrow the terminal is."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list. Without a limit, click wraps a sentence that is longer than the line, and cuts none."""
        for command in self.commands.values():
            command.short_help = command.get_short_help_str(limit=_LONGEST_SENTENCE)
        super().format_commands(ctx, formatter)


class Commands(Listed):
    """The commands, with options before them that say which datasets are meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the command."""
        if not ctx.resilient_parsing and (empty := _without_value(args)):
            raise _UsageError(f"{empty} has no value; give one, or leave the option out", ctx)
        try:
            rest = super().parse_args(ctx, args)
            # What stands behind the command is read after the options before it were judged.
            ctx.meta[_HELP] = not set(ctx.help_option_names).isdisjoint(ctx.args)
            return rest
        except _UsageError as error:
            option = getattr(error, "option_name", None)
            if option and _has(self.commands.values(), option):
                raise _UsageError(
                    f"{option} stands after the command: market-data COMMAND {option} ...", error.ctx
                ) from None
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is named."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            if hint := self._hint(error, ctx.invoked_subcommand or ""):
                raise _UsageError(hint, error.ctx) from None
            raise

    def _hint(self, error: Any, command: str) -> str:
        option, problem = getattr(error, "option_name", None), str(error.message)
        missing = getattr(error, "param", None) if type(error).__name__ == "MissingParameter" else None
        if missing and "|" in (missing.metavar or ""):
            return f"Missing option '{missing.opts[0]}'; give one of {', '.join(missing.metavar.split('|'))}"
        if option and _has([self], option):
            return refusal(command, option) or f"{option} stands before the command: market-data {option} ... {command}"
        if "/" not in problem or option:
            return ""
        if "extra argument" in problem and not refusal(command, "--pair"):
            return f"{problem.rstrip('.')}; a pair stands before the command: market-data --pair BTC/USDT {command}"
        if "No such command" in problem:
            return f"{problem.rstrip('.')}; write --pair before each pair: --pair BTC/USDT --pair ETH/USDT"
        return ""


def _without_value(args: Iterable[str]) -> str | None:
    """The first option whose value is empty, as that of a variable which is not set: most would mean all, or here."""
    for word, value in pairwise([*args, "end"]):
        if word.startswith("--") and (value == "" or word.endswith("=")):
            return word.rstrip("=")
    return None


def _has(commands: Iterable[Any], option: str) -> bool:
    return any(option in parameter.opts for command in commands for parameter in command.params)
