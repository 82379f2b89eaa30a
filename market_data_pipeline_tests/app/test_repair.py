"""A repair is one run in Dagster, which records what it loaded, the manifest, and checks that are good again."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from market_data_pipeline.app.backfill import BackfillRequest, backfill
from market_data_pipeline.app.repair import repair
from market_data_pipeline.app.targets import Target
from market_data_pipeline.app.verify import ProofRequest, verify_datasets
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.findings import JOINED, MATCHES_MANIFEST
from market_data_pipeline.core.proof.repair import Repaired
from market_data_pipeline.core.store.combined import combine
from market_data_pipeline.defs.location import jobs_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.instance import runs
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.instance.names import REPAIR_JOB, REPAIR_OP
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.app.conftest import Load
from market_data_pipeline_tests.support import flip_a_byte


def repaired(settings: Settings, target: Target) -> list[Repaired]:
    (proof,) = verify_datasets(settings, ProofRequest(target))
    found: list[Repaired] = []
    repair(
        settings,
        proof,
        on_start=lambda *_: None,
        on_day=lambda _: None,
        on_repaired=lambda _, one: found.append(one),
    )
    return found


def test_a_file_that_cannot_be_moved_keeps_no_day_from_repair(load: Load, settings: Settings, target: Target):
    dataset = load("2024-03-05", "2024-03-07").dataset
    files = store_of(settings).open(dataset)
    files.chunk_path(dataset.day("2024-03-05")).unlink()
    (files.folder / "chunks" / "notes.txt").write_text("mine")
    (files.folder / "quarantine").write_text("no folder")
    notes, day = repaired(settings, target)
    assert (notes.what, notes.ok, day.what, day.ok) == ("notes.txt", False, "2024-03-05", True)
    assert notes.after.startswith("cannot be moved: ")


def test_a_repair_is_one_run_that_records_its_days_the_manifest_and_the_checks(
    load: Load, settings: Settings, target: Target
):
    dataset = load("2024-03-05", "2024-03-10").dataset
    files = store_of(settings).open(dataset)
    # Two groups of days: they were two runs inside a run once.
    for day in ("2024-03-05", "2024-03-06", "2024-03-08"):
        files.chunk_path(dataset.day(day)).unlink()
    assert [(one.what, one.ok) for one in repaired(settings, target)] == [
        ("2024-03-05", True),
        ("2024-03-06", True),
        ("2024-03-08", True),
    ]
    with runs.open_instance(settings.home) as instance:
        newest, first = instance.get_runs()
        assert (newest.job_name, newest.is_success, first.job_name) == ("repair", True, "__ASSET_JOB")
        events = instance.all_logs(newest.run_id)
    materialized = [entry.asset_materialization for entry in events if entry.asset_materialization]
    assert [(event.asset_key.path[-1], event.partition) for event in materialized] == [
        ("klines_1m", "2024-03-05"),
        ("klines_1m", "2024-03-06"),
        ("klines_1m", "2024-03-08"),
        ("manifest", None),
    ]
    checks = {
        entry.get_dagster_event().asset_check_evaluation_data.check_name: entry
        for entry in events
        if entry.is_dagster_event and entry.get_dagster_event().event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    }
    assert {MATCHES_MANIFEST, JOINED} <= checks.keys()
    assert all(entry.get_dagster_event().asset_check_evaluation_data.passed for entry in checks.values())


def test_what_stays_bad_fails_the_run(load: Load, settings: Settings, target: Target):
    dataset = load("2024-03-05", "2024-03-07").dataset
    store_of(settings).open(dataset).chunk_path(dataset.day("2024-03-05")).unlink()
    offline = settings.model_copy(update={"market_data_exchange_url": "http://127.0.0.1:9"})
    (one,) = repaired(offline, target)
    assert not one.ok
    with runs.open_instance(settings.home) as instance:
        newest = instance.get_runs()[0]
    assert (newest.job_name, newest.is_failure) == ("repair", True)


def test_a_repair_removes_what_a_killed_writer_left(load: Load, settings: Settings, target: Target):
    dataset = load("2024-03-05", "2024-03-07").dataset
    files = store_of(settings).open(dataset)
    chunk = files.chunk_path(dataset.day("2024-03-05"))
    left = [files.folder / "manifest.json.tmp", chunk.with_name(f"{chunk.name}.tmp")]
    for path in left:
        path.write_bytes(b"the begin of")
    chunk.unlink()
    assert [one.ok for one in repaired(settings, target)] == [True]
    assert [path.exists() for path in left] == [False, False]


def test_an_error_after_something_was_repaired_is_told(load: Load, settings: Settings, target: Target):
    dataset = load("2024-03-05", "2024-03-07").dataset
    files = store_of(settings).open(dataset)
    flip_a_byte(combine(files).path)
    files.chunk_path(dataset.day("2024-03-05")).unlink()
    (files.folder / ".combine.lock").unlink()
    (files.folder / ".combine.lock").mkdir()
    with pytest.raises(MarketDataError, match=".combine.lock"):
        repaired(settings, target)
    (proof,) = verify_datasets(settings, ProofRequest(target))
    assert proof.verification.ok


@pytest.fixture
def other(load: Load, settings: Settings, target: Target) -> Path:
    """The chunk of another dataset, by name the later one, that is gone."""
    load("2024-03-05", "2024-03-06")
    request = BackfillRequest(replace(target, pair="ETH/USDT"), "2024-03-05", "2024-03-06")
    dataset = backfill(settings, request, on_start=lambda *_: None, on_day=lambda _: None).dataset
    chunk = store_of(settings).open(dataset).chunk_path(dataset.day("2024-03-05"))
    chunk.unlink()
    return chunk


def repair_all(settings: Settings) -> str:
    """Why the run of the job about the whole store failed, which the Dagster UI can start."""
    with runs.open_instance(settings.home) as instance:
        report = runs.run_op(instance, jobs_of(tools_of(settings)), REPAIR_JOB, REPAIR_OP, config={}, tags={})
    assert not report.success and report.error
    return report.error


def test_one_that_cannot_be_proved_keeps_no_other_from_repair(settings: Settings, other: Path):
    manifest = settings.folder / "binance" / "BTCUSDT" / "1m" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"format": 1', b'"format": 2'))
    assert "a newer version of market-data wrote it" in repair_all(settings)
    assert other.exists()


def test_one_that_cannot_be_repaired_keeps_no_other_from_repair(settings: Settings, target: Target, other: Path):
    files = store_of(settings).open(next(verify_datasets(settings, ProofRequest(target))).verification.dataset)
    flip_a_byte(combine(files).path)
    (files.folder / ".combine.lock").unlink()
    (files.folder / ".combine.lock").mkdir()
    assert ".combine.lock" in repair_all(settings)
    assert other.exists()
