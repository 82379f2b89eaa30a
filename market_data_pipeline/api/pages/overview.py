"""The pages that show many datasets: the list with health and numbers, and the heat map of coverage.

Belongs here: the content of both pages. Does not belong here: choosing (`choice`),
months (`heatmap`), the verdict on a dataset (`datasets.verdict`), HTML (`templates`).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi.responses import HTMLResponse

from market_data_pipeline.api.context import Context
from market_data_pipeline.api.datasets.proofs import Proofs
from market_data_pipeline.api.datasets.summaries import Known, Unreadable
from market_data_pipeline.api.datasets.verdict import State, verdict
from market_data_pipeline.api.pages import rendering as pages
from market_data_pipeline.api.pages.choice import Choice, Chosen, Row, Sort, choose
from market_data_pipeline.api.pages.heatmap import MonthState, heat_map
from market_data_pipeline.core.klines.dataset import parse_market
from market_data_pipeline.instance.names import CHECKS, dataset_tag

ROWS_A_PAGE = 100
MAP_ROWS_A_PAGE = 50
_UNREADABLE_SHOWN = 20
SORTS = {
    Sort.NAME: "name",
    Sort.MARKET: "market",
    Sort.QUOTE: "quote",
    Sort.HEALTH: "health, the worst first",
    f"-{Sort.PROOF}": "proof, the newest first",
    Sort.PROOF: "proof, the oldest first",
    Sort.FRESHNESS: "newest kline, the newest first",
    f"-{Sort.FRESHNESS}": "newest kline, the oldest first",
    f"-{Sort.DAYS}": "days, the most first",
    f"-{Sort.KLINES}": "klines, the most first",
    f"-{Sort.SIZE}": "size, the largest first",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """The datasets of a page, those that cannot be read, how many are still being read, and the answers of Dagster."""

    chosen: Chosen
    unreadable: Sequence[Unreadable]
    datasets: int
    being_read: int
    proofs: Proofs

    @property
    def is_unfinished(self) -> bool:
        """True if the same page will have more to show in a moment."""
        return self.being_read > 0 or not self.proofs.is_complete


@contextmanager
def seen(context: Context, choice: Choice, *, page: int, rows_a_page: int) -> Iterator[Seen]:
    """What a page shows. While the block makes the page, nothing else is read."""
    of_market = parse_market(choice.market) if choice.market else None
    found = context.summaries.known(of_market)
    known = [each for each in found if isinstance(each, Known)]
    proofs = context.proof_watcher.proofs([each.dataset for each in known])
    with context.summaries.paused():
        now_ms = round(time.time() * 1000)
        by_tag = proofs.by_dataset
        rows = [Row(each, verdict(each, by_tag.get(dataset_tag(each.dataset)), now_ms)) for each in known]
        yield Seen(
            chosen=choose(rows, choice, page=page, rows_a_page=rows_a_page),
            unreadable=[each for each in found if isinstance(each, Unreadable)],
            datasets=len(known),
            being_read=sum(not each.is_current for each in known),
            proofs=proofs,
        )


def overview(context: Context, choice: Choice, page: int) -> HTMLResponse:
    """The page of all datasets."""
    with seen(context, choice, page=page, rows_a_page=ROWS_A_PAGE) as shown:
        return pages.render(
            "browse.html",
            **_shared(context, choice, shown),
            path="/browse",
            until=None,
            checks=len(CHECKS),
            now_s=time.time(),
            settings=context.settings,
        )


def coverage_map(context: Context, choice: Choice, page: int, until: str | None) -> HTMLResponse:
    """The page with the heat map of coverage, up to the month `until` (YYYY-MM), the newest if None."""
    with seen(context, choice, page=page, rows_a_page=MAP_ROWS_A_PAGE) as shown:
        return pages.render(
            "coverage.html",
            **_shared(context, choice, shown),
            path="/browse/coverage",
            until=until,
            map=heat_map(shown.chosen.rows, until),
            month_states=list(MonthState),
        )


def _shared(context: Context, choice: Choice, shown: Seen) -> dict[str, Any]:
    return {
        "root": context.settings.root,
        "choice": choice,
        "seen": shown,
        "chosen": shown.chosen,
        "most_unreadable": _UNREADABLE_SHOWN,
        "states": list(State),
        "sorts": SORTS,
    }
