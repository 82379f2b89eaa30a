"""The two streams of the command line: results on stdout, everything else on stderr.

Belongs here: what every command prints the same way. Does not belong here: results (`reports`, `live_table`), progress
(`progress`), errors (`outcome`).
"""

import json
from collections.abc import Sequence

from rich.console import Console

out = Console(highlight=False, soft_wrap=True)
talk = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(content: object) -> None:
    """Print a result as JSON on stdout."""
    print(json.dumps(content, indent=2))  # noqa: T201


def print_warnings(warnings: Sequence[str]) -> None:
    """Print warnings on stderr, one line each."""
    for warning in warnings:
        talk.print(f"[bold yellow]WARNING[/bold yellow] {warning}")
