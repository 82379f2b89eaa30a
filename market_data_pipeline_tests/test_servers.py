"""Servers that tests need: what a test gets of one, and that it fails where one is required and does not answer."""

import pytest
import sqlalchemy as sa

from market_data_pipeline_tests.servers import postgres_database

NOBODY = "postgresql://somebody:secret@127.0.0.1:1/nowhere"


def test_a_test_has_an_empty_database(postgres: str) -> None:
    engine = sa.create_engine(postgres, poolclass=sa.NullPool)
    assert sa.inspect(engine).get_table_names() == []
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT current_database()")) == engine.url.database


@pytest.mark.parametrize(("required", "outcome"), [("", pytest.skip), ("redis postgres", pytest.fail)])
def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, required: str, outcome: type) -> None:
    monkeypatch.setenv("MARKET_DATA_TEST_POSTGRES", NOBODY)
    monkeypatch.setenv("MARKET_DATA_REQUIRE_SERVICES", required)
    with pytest.raises(outcome.Exception) as ended, postgres_database():
        pass
    assert "no postgres: MARKET_DATA_TEST_POSTGRES is" in str(ended.value)
    assert "secret" not in str(ended.value)
