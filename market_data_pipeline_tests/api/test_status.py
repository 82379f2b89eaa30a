"""`GET /status` tells of a dataset what `market-data status --json` tells."""

from pathlib import Path

from market_data_pipeline.app.as_json import status_json
from market_data_pipeline.core.store.status import status_of
from market_data_pipeline_tests.api.conftest import client
from market_data_pipeline_tests.core.fakes import span
from market_data_pipeline_tests.core.store.test_revisions import FIRST, SOME, WINDOW, publish
from market_data_pipeline_tests.reader.exporting.stores import make


def test_status_has_each_field_of_the_command(tmp_path: Path) -> None:
    make(tmp_path, "ETH/USDT")
    files = make(tmp_path, "BTC/USDT", window=WINDOW)
    publish(files, SOME)
    files.note_requested(WINDOW, FIRST, reused=span("2022-05-01T09:00Z", "2022-06-01T03:00Z"))
    answer = client(tmp_path).get("/status", params={"market": "spot", "pair": "BTC/USDT"})
    assert answer.json() == [status_json(status_of(files))]
    assert {"reused", "revisions"} < answer.json()[0].keys()
    assert {status["pair"]: "reused" in status for status in client(tmp_path).get("/status?market=spot").json()} == {
        "BTC/USDT": True,
        "ETH/USDT": False,
    }
