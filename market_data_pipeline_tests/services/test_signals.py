"""The signals that ask a command to stop: the first sets the event, the second interrupts."""

import signal
import threading

import pytest

from market_data_pipeline.services.signals import set_on_stop

NAMES = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_signal_sets_the_event_and_the_second_interrupts(name: str) -> None:
    number, stopping = getattr(signal, name), threading.Event()
    # The tests may run under nohup, which has SIGHUP ignored.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with set_on_stop(stopping):
            assert not stopping.is_set()
            signal.raise_signal(number)
            assert stopping.is_set()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"SIGINT", "SIGTERM"}])
def test_an_ignored_signal_stays_ignored(name: str) -> None:
    number, stopping = getattr(signal, name), threading.Event()
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with set_on_stop(stopping):
            signal.raise_signal(number)
            assert not stopping.is_set()
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_script_has_ignored_stops_all_the_same(number: signal.Signals) -> None:
    """What it starts in the background ignores Ctrl-C, and Dagster makes SIGTERM the same."""
    stopping = threading.Event()
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with set_on_stop(stopping):
            signal.raise_signal(number)
            assert stopping.is_set()
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)
