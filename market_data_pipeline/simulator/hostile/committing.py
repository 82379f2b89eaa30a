"""Which of the hostile faults a request can have, and committing them.

Belongs here: the order in which faults change an answer or a file, and the list of all of them. Does not belong here:
what one of them does (the other modules), which request has one (`faults`).
"""

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from market_data_pipeline.simulator.data.archive import ArchiveName, checksum_line, repacked, text_of
from market_data_pipeline.simulator.hostile.answer import Answer, Pieces
from market_data_pipeline.simulator.hostile.checksums import CHECKSUMS
from market_data_pipeline.simulator.hostile.documents import DOCUMENTS
from market_data_pipeline.simulator.hostile.framing import FRAMING
from market_data_pipeline.simulator.hostile.refusals import REFUSALS
from market_data_pipeline.simulator.hostile.rows import PAGES, ROWS, spoil_row, spoil_rows
from market_data_pipeline.simulator.hostile.texts import TEXTS
from market_data_pipeline.simulator.hostile.values import LISTINGS, TIMES, spoil_values
from market_data_pipeline.simulator.hostile.zips import ZIPS, spoil_zip
from market_data_pipeline.simulator.queries import RequestInfo

T = TypeVar("T")


def _texts(*tables: Mapping[str, tuple[str, object]]) -> dict[str, str]:
    return {name: text for table in tables for name, (text, _) in table.items()}


_OF_ENDPOINTS = {"time": _texts(TIMES), "exchangeInfo": _texts(LISTINGS), "klines": _texts(ROWS, PAGES)}
_OF_JSON = _texts(DOCUMENTS)
HOSTILE_ANSWERS: dict[str, str] = {
    **_texts(FRAMING, REFUSALS),
    **_OF_JSON,
    **{name: text for of in _OF_ENDPOINTS.values() for name, text in of.items()},
}
"""The faults of answers by name: what a client gets."""
OTHER_PAIR = {"file_of_other_pair": "the file and the checksum of another pair"}
HOSTILE_FILES: dict[str, str] = _texts(ZIPS, TEXTS, CHECKSUMS) | OTHER_PAIR
"""The faults of archive files by name: what a client gets."""


def concerns(name: str, request: RequestInfo) -> bool:
    """Return whether a request can have this fault."""
    if name in HOSTILE_FILES:
        return request.area == "archive"
    if name in _OF_JSON:
        return request.area in ("spot", "futures")
    endpoint = next((endpoint for endpoint, names in _OF_ENDPOINTS.items() if name in names), None)
    return endpoint in (None, request.endpoint)


def spoil_answer(answer: Answer, names: Collection[str], now_ms: int) -> Answer:
    """Return the answer with these faults: of its values, of its document, then those that replace all of it."""
    if answer.status == 200:
        for change in (*_of(TIMES, names), *_of(LISTINGS, names)):
            answer = answer.with_body(spoil_values(answer.body, change))
        for of_row in _of(ROWS, names):
            answer = answer.with_body(spoil_row(answer.body, of_row))
        for of_page in _of(PAGES, names):
            answer = answer.with_body(spoil_rows(answer.body, of_page, now_ms))
        for of_document in _of(DOCUMENTS, names):
            answer = answer.with_body(of_document(answer.body))
    for refusal in _of(REFUSALS, names):
        answer = refusal(now_ms)
    return answer


def pieces_of(answer: Answer, names: Collection[str]) -> Pieces | None:
    """Return how an answer with these faults is sent, None if as usual."""
    return next((framing(answer) for framing in _of(FRAMING, names)), None)


def spoil_hostile(name: ArchiveName, packed: bytes, names: Collection[str]) -> bytes | None:
    """Return a zip, or the checksum file of a zip, with these faults; None if there is none.

    The checksum is that of the spoiled zip, but for the faults of checksums.
    """
    for change in _of(TEXTS, names):
        packed = repacked(packed, change)
    for build in _of(ZIPS, names):
        packed = spoil_zip(name, text_of(packed), build)
    if not name.is_checksum:
        return packed
    checksum: bytes | None = checksum_line(name, packed)
    for of_checksum in _of(CHECKSUMS, names):
        checksum = of_checksum(name.file, packed)
    return checksum


def _of(table: Mapping[str, tuple[str, Callable[..., T]]], names: Collection[str]) -> list[Callable[..., T]]:
    """The functions of the faults of a table among these."""
    return [table[name][1] for name in table if name in names]
