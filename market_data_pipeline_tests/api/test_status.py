"""`GET /status` tells of a dataset what `market-data status --json` tells."""

import sys
from pathlib import Path

import pytest

from market_data_pipeline.app.as_json import status_json
from market_data_pipeline.core.store.status import status_of
from market_data_pipeline_tests.api.conftest import client
from market_data_pipeline_tests.core.fakes import span
from market_data_pipeline_tests.core.store.test_revisions import FIRST, SOME, WINDOW, publish
from market_data_pipeline_tests.reader.exporting.stores import make
from market_data_pipeline_tests.support import dataset_folder


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


def test_a_dataset_that_cannot_be_read_hides_no_other_and_is_named(tmp_path: Path) -> None:
    for pair in ("ADA/USDT", "BTC/USDT", "ETH/USDT"):
        make(tmp_path, pair)
    damaged = dataset_folder(tmp_path, "spot", "BTCUSDT") / "dataset.json"
    damaged.write_text("{", encoding="utf-8")
    api = client(tmp_path)
    for path in ("/status", "/status?market=spot"):
        answer = api.get(path)
        assert answer.status_code == 200, answer.text
        *others, refused = answer.json()
        assert [each["pair"] for each in others] == ["ADA/USDT", "ETH/USDT"]
        assert refused.keys() == {"market", "pair", "problem"}
        assert (refused["market"], refused["pair"]) == ("spot", "BTCUSDT")
        assert str(damaged) in refused["problem"]
    alone = api.get("/status?market=spot&pair=BTC/USDT")
    assert (alone.status_code, alone.json()["title"]) == (500, "The store is damaged")


@pytest.mark.skipif(sys.platform == "win32", reason="a link needs a right that users do not have")
def test_one_whose_files_the_disk_lets_nobody_read_is_named_by_its_pair(tmp_path: Path) -> None:
    make(tmp_path, "ADA/USDT")
    make(tmp_path, "BTC/USDT")
    chunks = dataset_folder(tmp_path, "spot", "BTCUSDT") / "chunks"
    chunks.rename(chunks.with_name("elsewhere"))
    chunks.symlink_to(chunks)
    read, refused = client(tmp_path).get("/status").json()
    assert read["pair"] == "ADA/USDT"
    assert (refused["market"], refused["pair"]) == ("spot", "BTC/USDT")
    assert "Too many levels of symbolic links" in refused["problem"]
