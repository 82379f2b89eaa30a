"""Combine: write combined files whose chunks have changed, of one dataset or many, in a Dagster run of this process.

Belongs here: the run of a request. Does not belong here: writing the file (`core.store.combined`), printing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from market_data_pipeline.app.targets import Target, datasets_of, open_datasets
from market_data_pipeline.core.errors import PASSING, StoreError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.combined import Combined, require_order, select
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.instance.names import COMBINE_JOB, COMBINE_OP, COMBINED
from market_data_pipeline.settings import Settings

if TYPE_CHECKING:
    from market_data_pipeline.instance import runs


def combine_dataset(
    settings: Settings,
    target: Target,
    *,
    tz: str | None = None,
    from_index: int | None = None,
    to_index: int | None = None,
    rebuild: bool = False,
    on_combined: Callable[[Combined], None] = lambda _: None,
) -> "runs.RunReport":
    """Write a combined file if its chunks have changed, in a Dagster run of this process.

    Args:
        settings: the settings.
        target: the dataset.
        tz: keep only whole days of this time zone; None keeps all klines.
        from_index: index of the first chunk; None means the dataset's first.
        to_index: index of the last chunk, included; None means the dataset's last.
        rebuild: write the file even if no chunk has changed.
        on_combined: called with the file, if there is one, before it is checked.

    Returns:
        How the run ended; what goes wrong in the run is in its `error`.

    Raises:
        UsageError, StoreError: there is no such dataset or zone, or the selection has no chunk.
    """
    from market_data_pipeline.defs.location import definitions_of
    from market_data_pipeline.defs.resources import Caller, tools_of
    from market_data_pipeline.instance import runs

    files = next(open_datasets(settings, replace(target, pair_named=True)))
    zone = parse_zone(tz) if tz else None
    select(files, zone=zone, from_index=from_index, to_index=to_index)  # an empty selection is refused before the run
    config = {"tz": zone.name if zone else None, "from_index": from_index, "to_index": to_index, "rebuild": rebuild}

    def note(_dataset: Dataset, combined: Combined | None, *_: object) -> None:
        if combined:
            on_combined(combined)

    with runs.open_instance(settings.home) as instance:
        tools = replace(tools_of(settings), caller=Caller(on_combined=note))
        definitions = definitions_of([files.dataset], tools)
        return runs.run(instance, definitions, files.dataset, [COMBINED], config={COMBINED: config})


@dataclass(frozen=True, slots=True)
class CombinedOne:
    """What became of one of many datasets.

    Attributes:
        name: of the dataset.
        combined: its file, None if there is none.
        problem: what is wrong, empty if nothing is.
        may_pass: True if the same may succeed later: the problem, if there is one, is of the disk or the bucket.
    """

    name: str
    combined: Combined | None
    problem: str = ""
    may_pass: bool = True


@dataclass(frozen=True, slots=True, repr=False)
class CombinedMany:
    """What combining many datasets did. `error` is why the run failed, None if it did not or a dataset says why."""

    results: tuple[CombinedOne, ...]
    run_id: str | None = None
    error: str | None = None
    run_may_pass: bool = True

    def __repr__(self) -> str:
        """Counts, as a notebook shows it: there may be a thousand datasets."""
        counts = f"datasets={len(self.results)}, failed={len(self.failed)}"
        return f"CombinedMany(ok={self.ok}, {counts}, error={self.error!r}, run_id={self.run_id!r})"

    @property
    def failed(self) -> list[CombinedOne]:
        """The datasets with which something is wrong."""
        return [one for one in self.results if one.problem]

    @property
    def ok(self) -> bool:
        """True if every file is there and good."""
        return not (self.failed or self.error)

    @property
    def may_pass(self) -> bool:
        """True if the same may succeed later: whatever failed did so by the disk or the bucket."""
        return self.run_may_pass and all(one.may_pass for one in self.failed)


def combine_datasets(
    settings: Settings,
    targets: Sequence[Target],
    *,
    tz: str | None = None,
    from_index: int | None = None,
    to_index: int | None = None,
) -> CombinedMany:
    """Write the combined files of many datasets in one Dagster run. The failure of one hides no other.

    The arguments are those of `combine_dataset`.

    Raises:
        UsageError: a dataset or the zone does not exist, or the first index is behind the last; nothing was written.
        StoreUnavailable: the home of Dagster cannot be used.
    """
    from market_data_pipeline.defs.location import jobs_of
    from market_data_pipeline.defs.resources import Caller, tools_of
    from market_data_pipeline.instance import runs

    zone = parse_zone(tz) if tz else None
    require_order(from_index, to_index)
    store, datasets, results = store_of(settings), list[Dataset](), list[CombinedOne]()
    for target in targets:
        try:
            datasets += datasets_of(store, replace(target, pair_named=True))
        except StoreError as error:
            results.append(CombinedOne(f"{target.market} {target.pair}", None, str(error), isinstance(error, PASSING)))

    def note(dataset: Dataset, combined: Combined | None, problem: str, may_pass: bool) -> None:
        results.append(CombinedOne(dataset.name, combined, problem, may_pass))

    if not datasets:
        return CombinedMany(tuple(results))
    config = {
        "market": targets[0].market.value,
        "pairs": [dataset.pair for dataset in datasets],
        "tz": zone.name if zone else None,
        "from_index": from_index,
        "to_index": to_index,
    }
    with runs.open_instance(settings.home) as instance:
        tools = replace(tools_of(settings), caller=Caller(datasets=datasets, on_combined=note))
        ended = runs.run_op(instance, jobs_of(tools), COMBINE_JOB, COMBINE_OP, config=config, tags={})
    why = ended.error_beside([one for one in results if one.problem])
    return CombinedMany(tuple(results), ended.run_id, why, why is None or ended.may_pass)
