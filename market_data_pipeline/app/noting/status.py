"""What `status` says of all datasets, kept from one command to the next.

Belongs here: which files the numbers depend on. Does not belong here: the numbers (`app.status`), keeping (`answers`),
printing.

In a bucket nothing is kept, as whether it has changed can only be asked there.
"""

from collections.abc import Iterator
from pathlib import Path

from market_data_pipeline.app.as_json import status_json
from market_data_pipeline.app.noting.answers import Stamp, keep, stamps_of
from market_data_pipeline.app.noting.questions import question_of_status
from market_data_pipeline.app.status import statuses_of
from market_data_pipeline.app.targets import Target
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store import layout
from market_data_pipeline.settings import Settings, public_variables


def statuses_kept(settings: Settings, target: Target, *, with_newest: bool) -> list[dict[str, object]]:
    """The status of every dataset as JSON, kept for the next time.

    Args:
        settings: the settings.
        target: one of which the user named nothing.
        with_newest: False if the newest kline of live mode does not matter, which changes each minute.

    Raises:
        UsageError, StoreError: see `statuses_of`.
    """
    stamps = _stamps(settings, with_newest=with_newest)
    statuses = statuses_of(settings, target)
    told = [status_json(status) for status in statuses]
    # A warning is to be looked at anew each time.
    if stamps and not any(status.warnings for status in statuses):
        keep(question_of_status(with_newest=with_newest), told, stamps, public_variables())
    return told


def _stamps(settings: Settings, *, with_newest: bool) -> list[Stamp]:
    """How the files look that the numbers depend on; nothing where that cannot be said."""
    given, root = settings.market_data_dir, settings.root
    if not isinstance(root, Path) or not (isinstance(given, Path) and given.expanduser().is_absolute()):
        return []
    return stamps_of(_paths(root, with_newest=with_newest))


def _paths(root: Path, *, with_newest: bool) -> Iterator[Path]:
    yield root
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if path.is_dir())
    for path in layout.dataset_files(root):
        folder = path.parent
        yield from (folder.parent, folder, path, folder / layout.CHUNKS)
        yield from (folder / name for name in (layout.MANIFEST_FILE, layout.REVISIONS_FILE))
    if with_newest:
        for market in Market:
            journal = layout.market_journal(root, market)
            yield journal
            if journal.is_dir():
                yield from sorted(journal.iterdir())
