"""The last errors: live mode that ended or is behind, and days that failed and are still not there.

Belongs here: what live mode has left in the store or does not do, and the failed days in `loader.log`. Does not belong
here: failed checks (`storage`), whether stored data is good (`app.verify`).
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path

from market_data_pipeline.app.doctor.lines import Line
from market_data_pipeline.app.health import live_lags
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span, intersect
from market_data_pipeline.core.klines.dataset import parse_market
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.text import count_text, one_line
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings

SECTION = "errors"
LATE = "run it again; a store that lets everything wait is told of under places"
# A pair that has ended since is refused by a load of days after its end, and nothing is noted then.
_IF_ENDED = "if it says that there are no klines, the same with verify --repair"
_LOG = "loader.log"
# The end of the log, of lines of 100 to 200 bytes.
_LAST_BYTES = 500_000
_MOST_DAYS, _MOST_LIVE, _MOST_CHARACTERS, _MOST_ERROR_BYTES = 10, 10, 300, 10_000
# A dataset of years takes 20 ms to open, and the look has 5 s on a machine that may be busy.
_MOST_DATASETS, _MOST_LOOKED_AT = 50, 1000
_FAILED = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) \d+ ERROR "
    r"(?P<market>\w+) (?P<pair>\S+) (?P<day>\d{4}-\d\d-\d\d) failed: (?P<why>.+)"
)


@dataclass(frozen=True, slots=True)
class _FailedDay:
    """A day that failed, as the log has it."""

    market: str
    pair: str
    day: str
    at: str
    why: str


def errors(settings: Settings) -> Iterator[Line]:
    """A line for each end of live mode by an error, and for each failed day that was not loaded later."""
    store, is_well = store_of(settings), True
    for line in chain(_of_live(store), _of_days(store, settings.logs / _LOG)):
        is_well = False
        yield line
    if is_well:
        yield Line(SECTION, "last errors", "none: no error of live mode, and no failed day that was not loaded later")


def live(settings: Settings) -> Iterator[Line]:
    """A line for each live dataset that is not current, or one for all if they are; none without live datasets."""
    signs = list(live_lags(settings))
    late = [sign for sign in signs if not sign.ok]
    for sign in late[:_MOST_LIVE]:
        detail, _, cure = sign.detail.partition("; ")
        yield Line(SECTION, "live", detail, cure or "start market-data live, or turn the live sensor of the market on")
    if len(late) > _MOST_LIVE:
        yield Line(SECTION, "live", f"and {len(late) - _MOST_LIVE} more", "see market-data health")
    if signs and not late:
        yield Line(SECTION, "live", f"{count_text(len(signs), 'live dataset')}, none behind the exchange")


def _of_live(store: Store) -> Iterator[Line]:
    files = storage_of(store.root)
    notes = [path.with_name(layout.LIVE_ERROR_FILE) for path in store.dataset_files()]
    for note in files.existing(notes):
        with suppress(FileNotFoundError, PermissionError):
            reason = one_line(files.read(note, _MOST_ERROR_BYTES).decode(errors="replace"), _MOST_CHARACTERS)
            name = "/".join(layout.owner_of(note))
            yield Line(SECTION, f"live {name}", f"ended by an error: {reason}", "start live mode again")


def _of_days(store: Store, log: Path) -> Iterator[Line]:
    failed = _failed_days(log)
    of_datasets = dict[tuple[str, str], list[_FailedDay]]()
    for each in failed[:_MOST_LOOKED_AT]:
        of_datasets.setdefault((each.market, each.pair), []).append(each)
    looked_at = list(of_datasets.values())[:_MOST_DATASETS]
    found = in_order(partial(_not_there, store), looked_at, threads=store.most_at_once)
    not_there = set(chain.from_iterable(found))
    told = [each for each in failed if each in not_there]
    for each in told[:_MOST_DAYS]:
        what = f"{each.market} {each.pair} {each.day}"
        cure = f"run market-data --market {each.market} --pair {each.pair} backfill --start {each.day}"
        yield Line(SECTION, what, f"failed at {each.at}: {each.why}", f"{cure}; {_IF_ENDED}")
    if len(told) > _MOST_DAYS:
        yield Line(SECTION, "days", f"and {len(told) - _MOST_DAYS} more", f"see {log}")
    if others := len(failed) - sum(map(len, looked_at)):
        text = f"{count_text(others, 'failed day')} in {log} not looked at, as others failed later"
        yield Line(SECTION, "older days", text)


def _failed_days(log: Path) -> list[_FailedDay]:
    """The failed days at the end of the log, the newest first, each once."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LAST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    found = dict[tuple[str, str, str], _FailedDay]()
    for match in filter(None, map(_FAILED.fullmatch, reversed(lines))):
        key = match["market"], match["pair"], match["day"]
        found.setdefault(key, _FailedDay(*key, match["at"], one_line(match["why"], _MOST_CHARACTERS)))
    return list(found.values())


def _not_there(store: Store, failed: Sequence[_FailedDay]) -> list[_FailedDay]:
    """Those of a dataset's failed days that still lack a minute; none if the dataset or the market does not exist."""
    try:
        dataset = store.find(parse_market(failed[0].market), failed[0].pair)
        if dataset is None:
            return []
        files = store.open(dataset)
    except MarketDataError:  # told by health and verify
        return []
    return [each for each in failed if not _is_there(files, each)]


def _is_there(files: DatasetStore, failed: _FailedDay) -> bool:
    """True if no minute of the day that was requested is absent for a reason that a load could change.

    Of a day that is not over, a chunk that was written since has all that there was.
    """
    day = files.dataset.day(failed.day)
    entry, whole = files.entries.get(failed.day), Absence(Kind.UNEXPLAINED, Span(day.start_ms, day.end_ms))
    absent = [each for each in (entry.absences if entry else [whole]) if not each.kind.is_final]
    kinds = {each.kind for each in absent if intersect([each.span], files.dataset.requested)}
    if kinds != {Kind.OPEN}:
        return not kinds
    [version] = files.versions([day])
    return version is not None and version.modified_ns >= datetime.fromisoformat(failed.at).timestamp() * 1e9
