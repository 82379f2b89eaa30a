"""Times of runs in a Postgres whose sessions have another zone than UTC, as on a server that is set to local time."""

import time
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from dagster._core.test_utils import create_run_for_test

from market_data_pipeline.instance.runs import open_instance
from market_data_pipeline_tests.support import CHECKOUT


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_a_run_is_created_now_whatever_the_zone_of_the_server(
    tmp_path: Path, postgres: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "UTC")  # so that what is set in the test is put back
    monkeypatch.delenv("PGTZ")
    engine = sa.create_engine(postgres, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {sa.make_url(postgres).database} SET timezone TO '{zone}'"))
    document = yaml.safe_load((CHECKOUT / "deploy" / "dagster.postgres.yaml").read_text(encoding="utf-8"))
    document["storage"]["custom"]["config"]["postgres_url"] = postgres
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with open_instance(tmp_path) as instance:
        run = create_run_for_test(instance)
        record = instance.get_run_record_by_id(run.run_id)
    assert record is not None
    assert abs(record.create_timestamp.timestamp() - time.time()) < 600
