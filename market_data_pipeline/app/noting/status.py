"""What `status` says, kept from one command to the next.

Belongs here: which files the numbers depend on. Does not belong here: the numbers (`app.status`), keeping (`answers`),
printing.

In a bucket nothing is kept, as whether it has changed can only be asked there.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from market_data_pipeline.app.as_json import status_json
from market_data_pipeline.app.noting.answers import Stamp, keep, stamps_of
from market_data_pipeline.app.status import statuses_of_each
from market_data_pipeline.app.targets import Refused, Target
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store import layout
from market_data_pipeline.settings import Settings, public_variables


def statuses_kept(
    settings: Settings, targets: Sequence[Target], question: str, *, with_newest: bool, refused: list[Refused]
) -> list[dict[str, object]]:
    """The status of the targets as JSON, kept for the next time as the answer to the question.

    Args:
        settings: the settings.
        targets: the datasets.
        question: what tells these targets from others; the settings tell the rest.
        with_newest: False if the newest kline of live mode does not matter, which changes each minute.
        refused: gets each dataset, one of several, that cannot be read.

    Raises:
        UsageError, StoreError, OSError: see `statuses_of_each`.
    """
    stamps = _stamps(settings, targets, with_newest=with_newest)
    statuses = statuses_of_each(settings, targets, on_refused=refused.append)
    told = [status_json(status) for status in statuses]
    # A warning is to be looked at anew each time.
    if stamps and not refused and not any(status.warnings for status in statuses):
        keep(question, told, stamps, public_variables())
    return told


def _stamps(settings: Settings, targets: Sequence[Target], *, with_newest: bool) -> list[Stamp]:
    """How the files look that the numbers depend on; nothing where that cannot be said."""
    given, root = settings.market_data_dir, settings.root
    if not isinstance(root, Path) or not (isinstance(given, Path) and given.expanduser().is_absolute()):
        return []
    return stamps_of(_paths(root, targets, with_newest=with_newest))


def _paths(root: Path, targets: Sequence[Target], *, with_newest: bool) -> Iterator[Path]:
    yield root
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if path.is_dir())
    for folder in _folders(root, targets):
        yield from (folder.parent, folder, folder / layout.CHUNKS)
        yield from (folder / name for name in (layout.DATASET_FILE, layout.MANIFEST_FILE, layout.REVISIONS_FILE))
    if with_newest:
        for market in Market:
            journal = layout.market_journal(root, market)
            yield journal
            if journal.is_dir():
                yield from sorted(journal.iterdir())


def _folders(root: Path, targets: Sequence[Target]) -> list[Path]:
    """The folders of the targets; all, with a dataset or none yet, where what is stored tells which ones are meant."""
    if all(target.pair_named and not target.in_catalog for target in targets):
        return [layout.dataset_folder(root, target.market, target.pair) for target in targets]
    return layout.dataset_folders(root)
