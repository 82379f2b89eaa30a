"""A revision that never took place is not told: its chunk was refused, or its process was killed before."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.store.chunks.files import NewChunk, new_chunk
from market_data_pipeline.core.store.chunks.growing import grown_chunk
from market_data_pipeline.core.store.chunks.replacing import Overtaken
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.revisions import Change, Revision, append, read
from market_data_pipeline_tests.core.fakes import klines_of, span
from market_data_pipeline_tests.core.store.conftest import SERVERS
from market_data_pipeline_tests.core.store.test_moving_starts import once
from market_data_pipeline_tests.core.store.test_moving_starts import opened as opened_now
from market_data_pipeline_tests.core.store.test_revisions import (
    DAY,
    NOON,
    OTHERS,
    SOME,
    Values,
    having,
    opened,
    publish,
)
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, Request, proxied
from market_data_pipeline_tests.places import environment_of, in_bucket


@pytest.fixture(params=SERVERS)
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectsProxy]:
    with proxied(request.getfixturevalue(request.param)) as running:
        for name, value in environment_of(running.url).items():
            monkeypatch.setenv(name, value)
        yield running


def test_a_revision_whose_chunk_is_refused_leaves_no_line(
    proxy: ObjectsProxy, caplog: pytest.LogCaptureFixture
) -> None:
    root = in_bucket()
    first = publish(opened_now(root))
    mine, theirs = opened_now(root), opened_now(root)
    is_noted = once(
        lambda request: request.method == "PUT" and request.key.endswith("revisions.jsonl"),
        lambda: publish(theirs, OTHERS),
    )
    proxy.loses = is_noted
    with caplog.at_level(logging.WARNING), pytest.raises(Overtaken, match="written by another process"):
        publish(mine, SOME)
    said = [record.getMessage() for record in caplog.records if "revised" in record.getMessage()]
    assert said == ["spot BTC/USDT 2024-03-05 revised: volume of 1 minute"]
    assert mine.revised == {}
    second = theirs.entries[DAY.key]
    assert chunks_of(mine) == [(first.sha256, second.sha256)]
    third = publish(mine, SOME)
    assert chunks_of(mine) == [(first.sha256, second.sha256), (second.sha256, third.sha256)]


def test_a_revision_whose_chunk_was_stored_before_it_was_refused_keeps_its_line(
    proxy: ObjectsProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is lost, and another process adds a minute before the request is sent again."""
    root = in_bucket()
    mine, on = opened_now(root), DAY
    mine.note_requested(Span(on.start_ms, on.end_ms), on.date)

    def until_noon(store: DatasetStore, values: Values) -> NewChunk:
        klines = having(klines_of(Span(on.start_ms, NOON + MINUTE_MS)), values)
        absences = [Absence(Kind.OPEN, Span(NOON + MINUTE_MS, on.end_ms))]
        return new_chunk(store.dataset, on, klines, absences, source="rest")

    first, lost = mine.publish(until_noon(mine, {})), list[Request]()

    def grows(request: Request) -> bool:
        if lost or request.method != "PUT" or "/chunks/" not in request.key:
            return False
        lost.append(request)
        other = opened_now(root)
        stored = other.trusted(on)
        assert stored is not None
        minute = klines_of(Span(NOON + MINUTE_MS, NOON + 2 * MINUTE_MS))
        grown = grown_chunk(other.dataset, on, stored, minute, "rest")
        assert grown is not None
        other.publish(grown)
        return True

    proxy.loses = grows
    revising = until_noon(mine, OTHERS)
    with caplog.at_level(logging.WARNING), pytest.raises(Overtaken, match="written by another process"):
        mine.publish(revising)
    assert chunks_of(mine) == [(first.sha256, revising.chunk.entry.sha256)]
    assert "revised: volume of 1 minute" in caplog.text
    [told] = opened_now(root).revisions()
    assert told.new_sha256 == revising.chunk.entry.sha256


def chunks_of(store: DatasetStore) -> list[tuple[str, str]]:
    """The old and the new chunk of each line of the ledger as it is."""
    lines = map(json.loads, (store.folder / "revisions.jsonl").read_text().splitlines())
    return [(line["old_sha256"], line["new_sha256"]) for line in lines]


def test_a_revision_that_was_killed_before_its_chunk_was_replaced_is_not_told(root: Any, made: DatasetStore) -> None:
    made.note_requested(span("2024-03-01", "2024-03-20"), date(2024, 3, 1))
    entry = publish(made)
    append(made.folder, revision(entry.sha256, "a" * 64))
    assert opened(root).revisions() == []
    revised = publish(opened(root), OTHERS)
    assert [noted.new_sha256 for noted in opened(root).revisions()] == [revised.sha256]


@pytest.mark.parametrize(
    ("noted", "stored", "told"),
    [
        ("a>b", "a", ""),
        ("a>b", "b", "a>b"),
        ("a>b", "f", "a>b"),
        ("a>b a>c", "c", "a>c"),
        ("a>b a>c", "b", "a>b"),
        ("a>b a>c", "f", "a>c"),
        ("a>b a>c b>c", "c", "a>b b>c"),
        ("a>b a>c b>d", "f", "a>b b>d"),
        ("a>b b>a", "a", "a>b b>a"),
        ("a>b b>a a>b", "b", "a>b b>a a>b"),
        ("a>b b>a a>c", "a", "a>b b>a"),
    ],
)
def test_of_several_revisions_of_a_chunk_one_took_place(
    root: Any, made: DatasetStore, noted: str, stored: str, told: str
) -> None:
    entry = replace(publish(made), sha256=stored * 64)
    for each in noted.split():
        append(root, revision(each[0] * 64, each[2] * 64))
        append(root, replace(revision("1" * 64, "2" * 64), day="2024-03-06"))
    found = [each for each in read(root, [entry]) if each.day == DAY.key]
    assert [f"{each.old_sha256[0]}>{each.new_sha256[0]}" for each in found] == told.split()


def revision(old: str, new: str) -> Revision:
    change = Change(NOON, "volume", 1.0, 2.0)
    at, minutes = "2024-03-10T00:00Z", (Span(NOON, NOON + 60_000),)
    return Revision(DAY.key, at, old, new, "rest", "archive", minutes, ("volume",), (change,))
