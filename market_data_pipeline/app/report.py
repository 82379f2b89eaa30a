"""Report: tell Dagster of the stored days that it has forgotten, in a Dagster run of this process.

Belongs here: which datasets are compared, when a run is needed, the report. Does not belong here: what Dagster lacks
(`defs.upkeep`), printing.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from market_data_pipeline.app.targets import Target, dataset_files_of
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.instance.names import REPORT_JOB, REPORT_OP
from market_data_pipeline.settings import Settings

if TYPE_CHECKING:
    from market_data_pipeline.defs.upkeep.comparing import Compared


@dataclass(frozen=True, slots=True)
class ReportedOne:
    """What became of one dataset.

    Attributes:
        name: of the dataset, or the `dataset.json` if that cannot be read.
        days: how many days are stored.
        told: how many of them Dagster was told of, as it did not have them, or another chunk.
        not_stored: how many days Dagster has with a chunk and the store has not.
        problem: why the dataset could not be read, one line; empty if it could.
        may_pass: True if the same may succeed later: the problem is one of the disk or the bucket.
        manifest: whether Dagster was told of the manifest.
        combined: whether it was told of the combined file.
    """

    name: str
    days: int
    told: int
    not_stored: int
    problem: str = ""
    may_pass: bool = False
    manifest: bool = False
    combined: bool = False


@dataclass(slots=True)
class Report:
    """What was told. `run_id` is None if Dagster had everything, `error` is why the run failed, None if it did not."""

    datasets: list[ReportedOne]
    run_id: str | None = None
    error: str | None = None
    run_may_pass: bool = True

    @property
    def failed(self) -> list[ReportedOne]:
        """The datasets that could not be read."""
        return [one for one in self.datasets if one.problem]

    @property
    def ok(self) -> bool:
        """True if Dagster has every stored day now."""
        return not (self.failed or self.error)

    @property
    def may_pass(self) -> bool:
        """True if the same may succeed later: whatever failed did so by the disk, the bucket or the database."""
        return self.run_may_pass and all(one.may_pass for one in self.failed)


OnDataset = Callable[[ReportedOne], None]


def report(
    settings: Settings, targets: Sequence[Target], *, on_start: Callable[[int], None], on_dataset: OnDataset
) -> Report:
    """Record in Dagster what it lacks of the targets' datasets; of all, or of a market, if no pair is named.

    There is no run if it lacks nothing. Nothing in the store is written.

    Args:
        settings: the settings.
        targets: the datasets.
        on_start: called with the number of datasets.
        on_dataset: called with each dataset, after it was recorded.

    Raises:
        UsageError: there is no such dataset.
        StoreUnavailable: the home of Dagster cannot be used.
    """
    store, result = store_of(settings), Report([])
    files = dataset_files_of(store, targets)
    on_start(len(files))

    def note(found: "Compared") -> None:
        told = 0 if found.problem else len(found.untold)
        files = {"manifest": found.manifest, "combined": found.combined is not None}
        one = ReportedOne(found.name, found.days, told, found.not_stored, found.problem, found.may_pass, **files)
        result.datasets.append(one)
        on_dataset(one)

    from market_data_pipeline.instance import runs  # takes seconds

    with runs.open_instance(settings.home) as instance:
        from market_data_pipeline.defs.upkeep.comparing import compared

        with closing(compared(instance, store, files)) as comparing:
            if (first := _first_to_tell(comparing, note)) is None:
                return result
            from market_data_pipeline.defs.location import jobs_of
            from market_data_pipeline.defs.resources import Caller, tools_of

            caller = Caller(compared=_joined([first], comparing), on_compared=note)
            tools = replace(tools_of(settings), caller=caller)
            config = _run_config(targets)
            ended = runs.run_op(instance, jobs_of(tools), REPORT_JOB, REPORT_OP, config=config, tags={})
    result.run_id = ended.run_id
    result.error = ended.error_beside(result.failed)
    result.run_may_pass = result.error is None or ended.may_pass
    return result


def _run_config(targets: Sequence[Target]) -> dict[str, Any]:
    """The config with which the UI runs the same again."""
    first = targets[0]
    pairs = {"pairs": [target.pair for target in targets]} if first.pair_named else {}
    return {"market": first.market.value, **pairs} if first.named else {}


def _first_to_tell(comparing: Iterable["Compared"], note: Callable[["Compared"], None]) -> "Compared | None":
    """The first dataset of which Dagster lacks something; those before it are noted."""
    for found in comparing:
        if found.needs_run:
            return found
        note(found)
    return None


def _joined(before: Iterable["Compared"], rest: Iterable["Compared"]) -> Generator["Compared"]:
    yield from chain(before, rest)
