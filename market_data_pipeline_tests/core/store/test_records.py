"""The store's JSON: the same bytes for ever, strict where it is read, and of older files as they were written."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.store import manifest, records, revisions
from market_data_pipeline.core.store.chunks.encoding import FOOTER_KEY, Footer, decode, encode
from market_data_pipeline.core.store.combined import CombinedFooter
from market_data_pipeline.core.store.dataset_file import read_dataset, write_dataset
from market_data_pipeline.core.store.manifest import Entry, State
from market_data_pipeline.core.store.revisions import Change, Revision
from market_data_pipeline_tests.core.fakes import day, klines_of, span, whole

DATASET = Dataset(
    Market.SPOT, "BTC/USDT", parse_zone("Europe/Zurich"), date(2024, 3, 1), (span("2024-03-01", "2024-03-09T07:01Z"),)
)
OUTAGE = Absence(Kind.OUTAGE, Span(1709596800000, 1709602200000), ('rest: "none"\\\n\x7f', "archive: né 币"))
OPEN = Absence(Kind.OPEN, Span(1709602200000, 1709602260000))
OUTAGE_JSON = (
    r'{"kind":"outage","start_ms":1709596800000,"end_ms":1709602200000,"minutes":90,'
    r'"evidence":["rest: \"none\"\\\n\u007f","archive: n\u00e9 \u5e01"]}'
)
OPEN_JSON = '{"kind":"open","start_ms":1709602200000,"end_ms":1709602260000,"minutes":1}'
ENTRY = Entry(
    day="2024-03-05", rows=1349, expected_rows=1440, first_open_time=1709593200000, last_open_time=1709679540000,
    absences=(OUTAGE, OPEN), source="archive+rest", size_bytes=65321, sha256="ab" * 32, state=State.CONFIRMED,
)  # fmt: skip
EMPTY = Entry(
    day="2024-03-06", rows=0, expected_rows=1440, first_open_time=None, last_open_time=None,
    absences=(), source="rest", size_bytes=900, sha256="cd" * 32, state=State.ARCHIVED,
)  # fmt: skip
MANIFEST = (
    '{"format": 1, "market": "spot", "pair": "BTC/USDT", "tz": "Europe/Zurich", "chunks": [\n'
    '{"index":5,"day":"2024-03-05","file":"chunk_000005_2024-03-05.parquet","rows":1349,"expected_rows":1440,'
    '"first_open_time":1709593200000,"last_open_time":1709679540000,"complete":false,'
    f'"absences":[{OUTAGE_JSON},{OPEN_JSON}],"source":"archive+rest","state":"confirmed","bytes":65321,'
    f'"sha256":"{"ab" * 32}"}},\n'
    '{"index":6,"day":"2024-03-06","file":"chunk_000006_2024-03-06.parquet","rows":0,"expected_rows":1440,'
    '"first_open_time":null,"last_open_time":null,"complete":true,"absences":[],"source":"rest","state":"archived",'
    f'"bytes":900,"sha256":"{"cd" * 32}"}}\n]}}\n'
).encode()
FOOTER = Footer("spot", "BTC/USDT", "Europe/Zurich", "2024-03-05", "archive+rest", (OUTAGE, OPEN))
FOOTER_JSON = (
    '{"format":1,"market":"spot","pair":"BTC/USDT","tz":"Europe/Zurich","day":"2024-03-05","source":"archive+rest",'
    f'"absences":[{OUTAGE_JSON},{OPEN_JSON}]}}'
).encode()
FLAWS = (
    Flaw(1709593200000, "low is above open or close", 397.01706473, ("archive", "rest")),
    Flaw(1709593260000, "close_time is outside the minute", 1709600400999, ("rest",)),
    Flaw(1709593320000, "low is above open or close", 1e-8, ("archive", "rest")),
)
FLAWS_JSON = (
    '[{"rule":"close_time is outside the minute","sources":["rest"],"open_times":[1709593260000],'
    '"values":["1709600400999"]},{"rule":"low is above open or close","sources":["archive","rest"],'
    '"open_times":[1709593200000,1709593320000],"values":["397.01706473","1e-08"]}]'
)
REVISION = Revision(
    day="2024-03-05", at="2024-03-07T00:00:01Z", old_sha256="ab" * 32, new_sha256="cd" * 32, old_source="rest",
    new_source="archive", minutes=(Span(60_000, 180_000),), fields=("close", "trades"),
    examples=(Change(60_000, "close", 1e22, 0.1), Change(60_000, "trades", 7, 8), Change(120_000, "low", 5.0, 1e-7)),
)  # fmt: skip
REVISION_JSON = (
    '{"day":"2024-03-05","at":"2024-03-07T00:00:01Z",'
    f'"old_sha256":"{"ab" * 32}","new_sha256":"{"cd" * 32}","old_source":"rest","new_source":"archive",'
    '"minutes":[{"start_ms":60000,"end_ms":180000}],"fields":["close","trades"],"examples":['
    '{"open_time":60000,"field":"close","old":1e+22,"new":0.1},{"open_time":60000,"field":"trades","old":7,"new":8},'
    '{"open_time":120000,"field":"low","old":5.0,"new":1e-07}]}\n'
).encode()
DATASET_JSON = b"""{
  "format": 1,
  "market": "spot",
  "pair": "BTC/USDT",
  "tz": "Europe/Zurich",
  "start": "2024-03-01",
  "live": false,
  "asked": [
    {
      "start": "2024-03-01T00:00Z",
      "end": "2024-03-09T07:01Z"
    }
  ]
}
"""


# --- the bytes


def test_a_manifest_is_these_bytes():
    assert manifest.to_text(DATASET, [EMPTY, ENTRY]) == MANIFEST
    read = manifest.from_text(MANIFEST)
    assert read == {"2024-03-05": ENTRY, "2024-03-06": EMPTY}
    assert [entry.state for entry in read.values()] == [State.CONFIRMED, State.ARCHIVED]


def test_an_empty_manifest_is_these_bytes():
    text = b'{"format": 1, "market": "spot", "pair": "BTC/USDT", "tz": "Europe/Zurich", "chunks": [\n\n]}\n'
    assert manifest.to_text(DATASET, []) == text
    assert manifest.from_text(text) == {}


def test_a_footer_is_these_bytes():
    content = encode(klines_of(whole(day("2024-03-05"))), FOOTER)
    assert FOOTER_KEY + b"\x18" in content
    assert FOOTER_JSON in content
    assert decode(content)[1] == FOOTER


def test_flaws_are_these_bytes_in_a_footer_and_in_a_manifest():
    content = encode(klines_of(whole(day("2024-03-05"))), replace(FOOTER, flaws=FLAWS))
    assert FOOTER_JSON[:-1] + f',"flaws":{FLAWS_JSON}}}'.encode() in content
    assert decode(content)[1] == replace(FOOTER, flaws=FLAWS)
    flawed = replace(ENTRY, flaws=FLAWS)
    text = manifest.to_text(DATASET, [EMPTY, flawed])
    assert text == MANIFEST.replace(
        b'],"source":"archive+rest"', f'],"flaws":{FLAWS_JSON},"source":"archive+rest"'.encode()
    )
    assert manifest.from_text(text) == {"2024-03-05": flawed, "2024-03-06": EMPTY}


@pytest.mark.parametrize(("there", "put"), [('"1e-08"', '"dear"'), ('"1e-08"', "1e-08"), (',"1e-08"', "")])
def test_flaws_that_are_damaged_are_refused(there: str, put: str) -> None:
    text = manifest.to_text(DATASET, [replace(ENTRY, flaws=FLAWS)]).decode()
    with pytest.raises(ValueError, match=r"."):
        manifest.from_text(text.replace(there, put, 1).encode())


def test_a_combined_footer_is_these_bytes():
    footer = CombinedFooter(1, "spot", "BTC/USDT", "UTC", 0, 86_400_000, 1, "ef")
    text = (
        b'{"format":1,"market":"spot","pair":"BTC/USDT","tz":"UTC","start_ms":0,"end_ms":86400000,"chunks":1,'
        b'"fingerprint":"ef"}'
    )
    assert records.compact(footer) == text
    assert records.parse(CombinedFooter, text) == footer


def test_a_dataset_file_is_these_bytes(tmp_path):
    write_dataset(tmp_path, DATASET)
    assert (tmp_path / "dataset.json").read_bytes() == DATASET_JSON
    assert read_dataset(tmp_path / "dataset.json") == DATASET


def test_a_dataset_file_without_requests_is_what_json_writes(tmp_path):
    write_dataset(tmp_path, Dataset(Market.FUTURES, "币安/USDT", parse_zone("+05:30"), date(2020, 1, 1), live=True))
    text = (tmp_path / "dataset.json").read_text("ascii")
    assert text == json.dumps(json.loads(text), indent=2) + "\n"
    assert '"live": true,\n  "asked": []\n' in text


def test_a_line_of_the_ledger_is_these_bytes(tmp_path):
    revisions.append(tmp_path, REVISION)
    assert (tmp_path / "revisions.jsonl").read_bytes() == REVISION_JSON
    [read] = revisions.read(tmp_path)
    assert read == REVISION
    assert [type(change.old) for change in read.examples] == [float, int, float]


def test_a_value_that_is_no_number_is_read_from_the_ledger(tmp_path):
    line = REVISION_JSON.replace(b"1e+22", b"NaN")
    (tmp_path / "revisions.jsonl").write_bytes(line)
    [read] = revisions.read(tmp_path)
    assert read.examples[0].old != read.examples[0].old
    (tmp_path / "revisions.jsonl").unlink()
    revisions.append(tmp_path, read)
    assert (tmp_path / "revisions.jsonl").read_bytes() == line


# --- reading


def test_keys_that_are_unknown_are_ignored(tmp_path):
    assert manifest.from_text(MANIFEST.replace(b'"index":', b'"new":[1],"index":'))["2024-03-06"] == EMPTY
    (tmp_path / "dataset.json").write_bytes(DATASET_JSON.replace(b'"live"', b'"colour": "red",\n  "live"'))
    assert read_dataset(tmp_path / "dataset.json") == DATASET


def test_a_manifest_of_before_live_mode_has_no_states():
    read = manifest.from_text(MANIFEST.replace(b'"state":"confirmed",', b"").replace(b'"state":"archived",', b""))
    assert [entry.state for entry in read.values()] == [State.PROVISIONAL, State.CONFIRMED]


@pytest.mark.parametrize(
    ("there", "put", "problem"),
    [
        ('"rows":1349', '"rows":"1349"', "chunks.0.rows: Input should be a valid integer"),
        ('"rows":1349', '"rows":true', "chunks.0.rows: Input should be a valid integer"),
        ('"rows":1349,', "", "chunks.0.rows: Field required"),
        ('"day":"2024-03-05"', '"day":"2024-13-05"', "chunks.0.day: "),
        ('"minutes":90', '"minutes":"90"', "chunks.0.absences.0.minutes: "),
        ('"kind":"outage"', '"kind":"holiday"', "chunks.0.absences.0.kind: Input should be "),
        ('"format": 1', '"format": 0', "format: Input should be 1"),
        ("]}\n", "", "Invalid JSON: "),
    ],
)
def test_what_is_wrong_with_a_manifest_is_named_in_one_line(there, put, problem):
    with pytest.raises(ValueError, match=f"^{problem}[^\n]*$"):
        manifest.from_text(MANIFEST.decode().replace(there, put, 1).encode())


@pytest.mark.parametrize(
    ("there", "put"),
    [('"live": false', '"live": "no"'), ('"pair": "BTC/USDT"', '"pair": 7'), ('"format": 1', '"format": 0')],
)
def test_a_dataset_file_with_a_wrong_value_is_damaged(tmp_path, there, put):
    path: Path = tmp_path / "dataset.json"
    path.write_text(DATASET_JSON.decode().replace(there, put))
    with pytest.raises(StoreError, match=f"damaged .{put.split(chr(34))[1]}: "):
        read_dataset(path)


@pytest.mark.parametrize("format_", [0, "1", None])
def test_a_footer_of_another_format_is_refused(format_: Any):
    with pytest.raises(ValueError, match="^format: Input should be 1$"):
        records.parse(CombinedFooter, json.dumps({"format": format_, "market": "spot"}))


@pytest.mark.parametrize("format_", [2, 99])
def test_what_a_newer_version_wrote_is_told_as_such(format_: int):
    with pytest.raises(records.NewerFormat, match="^a newer version of market-data wrote it; update market-data$"):
        records.parse(CombinedFooter, json.dumps({"format": format_, "market": "spot"}))
