"""The way of `status`: what is kept, else what is found out.

Belongs here: which of both. Does not belong here: the table (`table`), what is kept (`app.noting.status`).
Imports that take long are inside the functions, as in `data_commands`.
"""

from typing import TYPE_CHECKING, Any

from market_data_pipeline.app.noting.answers import kept
from market_data_pipeline.app.noting.questions import question_of_status
from market_data_pipeline.cli.console import print_json
from market_data_pipeline.cli.lines.writing import tell_failed
from market_data_pipeline.cli.options import GlobalOptions
from market_data_pipeline.cli.outcome import exit_unless, load_settings
from market_data_pipeline.cli.stored.table import print_statuses

if TYPE_CHECKING:
    from market_data_pipeline.app.targets import Refused


def show_status(options: GlobalOptions, *, as_json: bool) -> None:
    """Print what is stored of the datasets that the options name, or of all."""
    # What a universe or a file names can change while the options stay as they are.
    is_kept = options.universe is None and options.pairs_file is None
    question = question_of_status(repr(options), with_newest=as_json) if is_kept else None
    told, refused = kept(question) if question else None, list["Refused"]()
    if told is None:
        told = _found(options, question, with_newest=as_json, refused=refused)
    for each in refused:
        tell_failed(each.name, each.problem, as_json=as_json)
    if as_json:
        print_json(told)
    else:
        print_statuses(told)
    exit_unless(not refused, may_pass=all(each.may_pass for each in refused))


def _found(
    options: GlobalOptions, question: str | None, *, with_newest: bool, refused: "list[Refused]"
) -> list[dict[str, Any]]:
    from market_data_pipeline.app.as_json import status_json
    from market_data_pipeline.app.noting.status import statuses_kept
    from market_data_pipeline.app.status import statuses_of_each

    settings = load_settings()
    targets = options.targets(settings)
    if question:
        return statuses_kept(settings, targets, question, with_newest=with_newest, refused=refused)
    return [status_json(status) for status in statuses_of_each(settings, targets, on_refused=refused.append)]
