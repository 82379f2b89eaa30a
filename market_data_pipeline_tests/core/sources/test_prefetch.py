"""Waiting for pages that other threads load: it hears an interrupt on every system, and the end of the threads."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.table import EMPTY
from market_data_pipeline.core.sources.interrupts import LONGEST_DEAF_S, result_of
from market_data_pipeline.core.sources.prefetch import FuturesAhead, ReadAhead, error_of
from market_data_pipeline.core.sources.protocol import Page
from market_data_pipeline.core.sources.union.pages import UnpackedPages
from market_data_pipeline_tests.core.fakes import span

DAY = span("2024-03-05", "2024-03-06")
PAGE = Page(DAY, EMPTY, frozenset({"archive"}))
Read = Callable[["Future[Page]"], Page]


class Watched(Future[Page]):
    """A future that notes how long it is waited for at once, None for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if not self.done():
            self.waits.append(timeout)
        return super().exception(timeout)

    def result(self, timeout: float | None = None) -> Page:
        if not self.done():
            self.waits.append(timeout)
        return super().result(timeout)


def by_rest(future: "Future[Page]") -> Page:
    return next(ReadAhead(FuturesAhead(iter([future]), 1)))


def unpacked(future: "Future[Page]") -> Page:
    def unpack(loaded: "Future[Page]") -> "Future[Page]":
        page = Future[Page]()
        if error := error_of(loaded):
            page.set_exception(error)
        else:
            page.set_result(loaded.result())
        return page

    loaded: Any = FuturesAhead(iter([future]), 1)
    return next(UnpackedPages(loaded, unpack))


@pytest.mark.parametrize("read", [by_rest, result_of])
def test_a_thread_that_waits_for_a_page_looks_up_from_time_to_time(read: Read) -> None:
    future = Watched()
    timer = threading.Timer(3 * LONGEST_DEAF_S, future.set_result, [PAGE])
    timer.start()
    assert read(future) is PAGE
    timer.join()
    assert len(future.waits) >= 2
    assert set(future.waits) == {LONGEST_DEAF_S}


@pytest.mark.parametrize("read", [by_rest, unpacked])
def test_a_page_that_is_cancelled_while_it_is_waited_for_ends_the_wait(read: Read) -> None:
    future, ended = Future[Page](), threading.Event()

    def wait_for_page() -> None:
        with pytest.raises(SourceUnavailable, match="stopped"):
            read(future)
        ended.set()

    threading.Thread(target=wait_for_page, daemon=True).start()
    assert not ended.wait(LONGEST_DEAF_S)
    future.cancel()
    assert ended.wait(30)


@pytest.mark.parametrize("read", [by_rest, unpacked])
def test_a_page_that_is_there_is_not_waited_for(read: Read) -> None:
    future = Watched()
    future.set_result(PAGE)
    assert read(future) is PAGE
    assert future.waits == []
