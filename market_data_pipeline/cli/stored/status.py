"""The way of `status`: what is kept, else what is found out.

Belongs here: which of both. Does not belong here: the table (`table`), what is kept (`app.noting.status`).
Imports that take long are inside the functions, as in `data_commands`.
"""

from typing import TYPE_CHECKING, Any

from market_data_pipeline.app.noting.answers import kept
from market_data_pipeline.app.noting.questions import question_of_status
from market_data_pipeline.cli.console import print_json
from market_data_pipeline.cli.options import GlobalOptions
from market_data_pipeline.cli.outcome import load_settings
from market_data_pipeline.cli.stored.table import print_statuses

if TYPE_CHECKING:
    from market_data_pipeline.settings import Settings


def show_status(options: GlobalOptions, *, as_json: bool) -> None:
    """Print what is stored of the datasets that the options name, or of all."""
    is_of_all = options == GlobalOptions()
    told = kept(question_of_status(with_newest=as_json)) if is_of_all else None
    if told is None:
        told = _all(as_json) if is_of_all else _chosen(load_settings(), options)
    if as_json:
        print_json(told)
    else:
        print_statuses(told)


def _all(as_json: bool) -> list[dict[str, Any]]:
    from market_data_pipeline.app.noting.status import statuses_kept
    from market_data_pipeline.app.targets import target_of

    settings = load_settings()
    return statuses_kept(settings, target_of(settings), with_newest=as_json)


def _chosen(settings: "Settings", options: GlobalOptions) -> list[dict[str, Any]]:
    from market_data_pipeline.app.as_json import status_json
    from market_data_pipeline.app.status import statuses_of

    targets = options.targets(settings)
    return [status_json(status) for target in targets for status in statuses_of(settings, target)]
