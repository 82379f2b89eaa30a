"""Opening an object store: its server, its region and its credentials from the environment or from a profile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.store.storage.opening import OF_READERS, first_line, opened

VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL",
             "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")  # fmt: skip
ROOT = "s3://bucket/klines"
Written = Callable[[str, str], None]


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Writes the two files of profiles, and hides what the tester has."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for variable, name in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")):
        monkeypatch.setenv(variable, str(tmp_path / name))

    def written(credentials: str, config: str) -> None:
        (tmp_path / "credentials").write_text(credentials, encoding="utf-8")
        (tmp_path / "config").write_text(config, encoding="utf-8")

    return written


KEYS = "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n"


def config_of(root: str = ROOT) -> dict[str, object]:
    return dict(opened(root).config)  # type: ignore[attr-defined]


def test_a_profile_gives_region_and_server(profile: Written) -> None:
    profile(KEYS, "[default]\nregion = eu-central-2\nendpoint_url = https://objects.example:9000\n")
    config = config_of()
    assert (config["region"], config["endpoint"]) == ("eu-central-2", "https://objects.example:9000")
    assert opened(ROOT).credential_provider is not None  # type: ignore[attr-defined]


def test_the_environment_goes_before_the_profile(profile: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    profile(KEYS, "[default]\nregion = eu-central-2\nendpoint_url = https://objects.example:9000\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://other.example")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-1")
    config = config_of()
    assert config["endpoint"] == "https://other.example"
    assert config.get("region") != "eu-central-2"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://third.example")
    assert config_of()["endpoint"] == "https://third.example"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert opened(ROOT).credential_provider is None  # type: ignore[attr-defined]


def test_without_any_file_there_is_no_profile(profile: Written) -> None:
    assert opened(ROOT).credential_provider is None  # type: ignore[attr-defined]


@pytest.mark.skipif("os.name == 'nt'", reason="Windows has no such users")
def test_a_user_without_a_home_has_no_profile(profile: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "~nosuch/file")
    assert opened(ROOT).credential_provider is None  # type: ignore[attr-defined]


def test_a_profile_that_cannot_be_used_is_named(profile: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    profile("no section\n", "")
    with pytest.raises(UsageError, match=r"^the profile default in .*\.aws cannot be used: .+"):
        opened(ROOT)
    profile(KEYS, "")
    monkeypatch.setenv("AWS_PROFILE", "unknown")
    with pytest.raises(UsageError, match=r"^the profile unknown in .*\.aws cannot be used: .*unknown"):
        opened(ROOT)


def test_the_server_of_a_profile_is_an_address_and_is_not_repeated(
    profile: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(KEYS, "[default]\nendpoint_url = https://me:password@objects.example\n")
    with pytest.raises(UsageError, match="^endpoint_url of the profile default is no address of a server") as refused:
        opened(ROOT)
    assert "password" not in str(refused.value)
    profile("", "[profile mine]\nendpoint_url = objects.example\n")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    with pytest.raises(UsageError, match="^endpoint_url of the profile mine is no address of a server"):
        opened(ROOT)


def test_a_profile_is_for_addresses_of_s3_alone(profile: Written) -> None:
    profile("no section\n", "")
    assert opened("memory:///klines")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_without_encryption_is_allowed_where_it_is_named(
    profile: Written, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{scheme}://127.0.0.1:9000")
    options = opened(ROOT).client_options  # type: ignore[attr-defined]
    assert options["allow_http"] in ({True, "true"} if scheme == "http" else {False, "false"})


def test_who_has_answered_is_waited_for_and_readers_are_told_soon(profile: Written) -> None:
    def tries(**options: Any) -> tuple[int, float]:
        config = opened(ROOT, **options).retry_config  # type: ignore[attr-defined]
        return config["max_retries"], config["retry_timeout"].total_seconds()

    assert tries() == (8, 45)
    assert tries(has_answered=True) == (1000, 45)
    assert tries(patience=OF_READERS) == (8, 4)


def test_an_error_is_one_line_without_credentials() -> None:
    error = ValueError("cannot reach https://me:password@objects.example/bucket?x=1\n\nDebug source:\nmuch")
    assert first_line(error) == "cannot reach https://objects.example/bucket?x=1"
