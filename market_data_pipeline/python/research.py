"""`snapshot`, `snapshots`, `remove_snapshot` and `verify_snapshot`: named lists of chunks, as functions.

Belongs here: from parameters to a use case of `app.market.snapshots`. Does not belong here: reading klines of a
snapshot (`reader`), the commands that load and check (`calls`).
"""

from collections.abc import Sequence
from pathlib import Path

from market_data_pipeline.app.market import snapshots as use_cases
from market_data_pipeline.core.store.snapshots.lists import Snapshot
from market_data_pipeline.core.store.snapshots.proving import SnapshotProof
from market_data_pipeline.core.store.snapshots.removing import Removed
from market_data_pipeline.python.calls import as_in_python
from market_data_pipeline.python.targets import settings_of, targets_for


def snapshot(
    name: str,
    pairs: str | Sequence[str] | None = None,
    *,
    market: str | None = None,
    universe: str | None = None,
    root: str | Path | None = None,
) -> Snapshot:
    """Name the chunks that datasets have now, of all days that are over, like `market-data snapshot NAME`.

    `open_dataset(..., as_of=name)` reads them later, whatever was stored since.

    Args:
        name: letters, digits and `._-`, such as `paper-2024`.
        pairs: names in any spelling, and globs over what is stored; None for all datasets of the market.
        market: `spot` or `futures`; None for both, for `pairs` that of the settings, for `universe` its own.
        universe: the pairs of a universe of `market-data.toml`, too.
        root: the data root; None for that of the settings.

    Raises:
        UsageError: there is such a snapshot already, no such dataset, or no chunk to name.
        StoreError: a dataset is damaged, or a chunk is missing; there is no snapshot then.
    """
    settings = settings_of(root)
    with as_in_python():
        return use_cases.make(settings, name, targets_for(settings, pairs, market, universe=universe))


def snapshots(*, root: str | Path | None = None) -> list[Snapshot]:
    """Every snapshot, by name, like `market-data snapshot`.

    Raises:
        StoreError: the file of one is damaged.
    """
    with as_in_python():
        return use_cases.listed(settings_of(root))


def remove_snapshot(name: str, *, root: str | Path | None = None) -> Removed:
    """Remove a snapshot, and the kept chunks that no other one names, like `market-data snapshot NAME --remove`.

    Raises:
        UsageError: there is none.
        StoreUnavailable: another process makes or removes one.
    """
    with as_in_python():
        return use_cases.remove(settings_of(root), name)


def verify_snapshot(name: str, *, root: str | Path | None = None) -> SnapshotProof:
    """Read every chunk that a snapshot names, like `market-data verify --snapshot NAME`: look at `ok` and `problems`.

    Raises:
        UsageError: there is none.
        StoreError: its file is damaged.
    """
    with as_in_python():
        return use_cases.prove(settings_of(root), name)
