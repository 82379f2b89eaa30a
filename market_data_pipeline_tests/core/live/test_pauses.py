"""Pauses between runs of live mode, which goes on for months."""

from types import SimpleNamespace

import pytest

from market_data_pipeline.core.live import runs_due
from market_data_pipeline.core.live.runs_due import Pauses


def test_a_pause_that_is_over_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(runs_due, "time", SimpleNamespace(monotonic=lambda: now.s))
    pauses = Pauses()
    for number in range(100):
        pauses.begin(("BTC/USDT", str(number)), 120)
        now.s += 60
    assert not pauses.go_on(("BTC/USDT", "97"))
    assert pauses.go_on(("BTC/USDT", "99"))
    assert not pauses.go_on(("ETH/USDT", "99"))
    assert len(pauses) == 2
    now.s += 60
    assert not pauses.go_on(("BTC/USDT", "99"))
