"""The names that a shell completes, kept from one time to the next.

Belongs here: which files they are read from, if the data root is a folder. Does not belong here: when they are asked
for (`cli.shell.values`), keeping (`answers`).
"""

from pathlib import Path

from market_data_pipeline.app.noting.answers import keep, stamps_of
from market_data_pipeline.app.noting.questions import UNIVERSES, question_of_pairs
from market_data_pipeline.core.klines.dataset import parse_market
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.catalog.snapshots import CatalogStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.universes import UNIVERSES_FILE, read_universes
from market_data_pipeline.settings import load_usable, public_variables


def pairs(market: str) -> list[str]:
    """The pairs of a market that are stored or that its newest catalog has, by name; none of a bucket.

    Raises:
        UsageError: there is no such market.
    """
    of_market, root = parse_market(market), _root()
    if root is None:
        return []
    folder = layout.catalog_folder(root, of_market)
    datasets = layout.dataset_folders(root, of_market)  # `dataset.json` may come later than its folder
    stamps = stamps_of([root, root / of_market.exchange_id, folder.parent, folder, *datasets])
    newest = CatalogStore(root, of_market).newest()
    known = {listed.pair for listed in newest.pairs} if newest else set[str]()
    found = sorted(known.union(Store(root).pairs(of_market)))
    keep(question_of_pairs(market), found, stamps, public_variables())
    return found


def universes() -> list[str]:
    """The names of the universes of the data root; none of a bucket.

    Raises:
        UsageError: the file cannot be used.
    """
    root = _root()
    if root is None:
        return []
    stamps = stamps_of([root, root / UNIVERSES_FILE])
    found = list(read_universes(root))
    keep(UNIVERSES, found, stamps, public_variables())
    return found


def _root() -> Path | None:
    """The data root, if it is a folder, and the same one wherever the shell stands."""
    settings = load_usable()[0]
    given = settings.market_data_dir
    if not isinstance(given, Path):
        return None
    root = given.expanduser()
    return root if root.is_absolute() else None
