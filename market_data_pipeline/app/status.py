"""Status: what is stored, read from the manifests alone.

Belongs here: which datasets are included. Does not belong here: the numbers (`core.store.status`), printing.
"""

from collections.abc import Sequence

from market_data_pipeline.app.targets import OnRefused, Target, of_each, open_datasets
from market_data_pipeline.core.store.status import DatasetStatus, status_of
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings


def statuses_of(settings: Settings, target: Target) -> list[DatasetStatus]:
    """The status of the target's dataset, or of every dataset if the user named none, read from the manifests alone.

    Raises:
        UsageError: there is no such dataset.
        StoreError: a `dataset.json` is damaged.
    """
    at_once = store_of(settings).most_at_once
    return list(in_order(status_of, open_datasets(settings, target), threads=at_once))


def statuses_of_each(settings: Settings, targets: Sequence[Target], *, on_refused: OnRefused) -> list[DatasetStatus]:
    """As `statuses_of`, of several targets; one that cannot be read hides no other, see `of_each`.

    Raises:
        UsageError: there is no such dataset.
        StoreError, OSError: the only one cannot be read, or the bucket is away.
    """
    store = store_of(settings)
    return list(of_each(store, targets, status_of, on_refused=on_refused, threads=store.most_at_once))
