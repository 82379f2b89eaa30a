"""The folder of the Dagster instance."""

from pathlib import Path

import pytest
import yaml

from market_data_pipeline.instance.home import prepare_home

OLD_MODULE, MODULE = "market_data_pipeline.dagster_event_log", "market_data_pipeline.instance.storage"


def storage(home: Path) -> str:
    return str(yaml.safe_load((home / "dagster.yaml").read_text())["storage"]["custom"]["module"])


def test_a_new_home_has_the_settings_of_the_project(tmp_path):
    prepare_home(tmp_path / "new")
    assert storage(tmp_path / "new") == MODULE


def test_a_home_of_the_first_version_finds_the_storage_where_it_is_now(tmp_path):
    prepare_home(tmp_path)
    settings = tmp_path / "dagster.yaml"
    mine = settings.read_text().replace(MODULE, OLD_MODULE).replace("max_concurrent_runs: 4", "max_concurrent_runs: 2")
    settings.write_text(mine)
    prepare_home(tmp_path)
    assert storage(tmp_path) == MODULE
    assert settings.read_text() == mine.replace(OLD_MODULE, MODULE)


@pytest.mark.parametrize("written", ["storage: {postgres: {}}\n", ""])
def test_other_settings_of_a_home_are_left_as_they_are(tmp_path, written):
    (tmp_path / "dagster.yaml").write_text(written)
    prepare_home(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == written
