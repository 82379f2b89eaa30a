"""A data root in a bucket: its address, its credentials, and one line for each refusal of the object store."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import obstore
import pytest

from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.opening import opened
from market_data_pipeline.core.store.storage.paths import BucketPath
from market_data_pipeline.core.store.storage.places import root_at
from market_data_pipeline.settings import load
from market_data_pipeline_tests.places import ReadablePath, environment_of, in_bucket
from market_data_pipeline_tests.servers import BUCKET, KEY, READER, READER_SECRET, SECRET
from market_data_pipeline_tests.support import MarketData, Simulate, without_progress

LOAD = ("--market", "spot", "backfill", "--start", "2024-05-01", "--end", "2024-05-03")
VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL")


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide what the tester has."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def tool_at(root: Any, folder: Path, simulate: Simulate, **env: str) -> MarketData:
    local = {"DAGSTER_HOME": str(folder / "dagster"), "LOG_DIR": str(folder / "logs")}
    return MarketData(root, simulate().url, local | env)


# --- addresses


@pytest.mark.parametrize("address", ["s3://bucket/a b/zürich", "s3://bucket", "gs://bucket/a", "az://bucket/a(1)'$&"])
def test_a_root_in_a_bucket_has_one_address(address: str) -> None:
    assert root_at(address) == root_at(f"{address}/") == root_at(f"{address}//") == BucketPath(address)


@pytest.mark.parametrize(
    "address",
    [
        "S3://bucket/a",
        "s3:bucket/a",
        "s3:/bucket/a",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "s3://bucket/.",
        "s3://b/a",
    ]
    + ["s3://bucket/a%20b", "s3://bucket/a*", "s3://bucket/a\tb", "file:///srv/data", "s3://bucket/a\\b"],
)
def test_an_address_that_is_none_is_no_folder(address: str) -> None:
    with pytest.raises(UsageError, match="give a folder, or s3://bucket/prefix"):
        _ = load(market_data_dir=address).root


def test_an_empty_variable_is_as_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """`deploy/compose.yaml` gives an empty `AWS_ENDPOINT_URL` for Amazon."""
    for name in ("AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    url = obstore.sign(opened("s3://bucket/klines"), "GET", "object", timedelta(seconds=60))  # sends no request
    assert url.startswith("https://s3.us-east-1.amazonaws.com/bucket/klines/object?")
    assert "Security-Token" not in url


def test_an_address_given_as_a_path_has_lost_a_slash_and_is_no_folder() -> None:
    with pytest.raises(UsageError, match="as text"):
        root_at(Path("s3://bucket/prefix"))


@pytest.mark.skipif("os.name == 'nt'", reason="Windows looks for no such user")
def test_a_root_from_a_home_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="~nosuch/klines cannot be used: there is no such home folder; give"):
        root_at("~nosuch/klines")


def test_each_root_has_a_folder_of_its_own_on_the_machine() -> None:
    roots = ["s3://bucket/a/b", "s3://bucket/a-b", "s3://bucket-a/b", "gs://bucket/a/b"]
    assert len({load(market_data_dir=root).folder for root in roots}) == len(roots)
    assert load(market_data_dir="s3://bucket/a/b").folder == load(market_data_dir="s3://bucket/a/b//").folder


def test_a_password_in_an_address_is_not_shown(tmp_path: Path, simulate: Simulate) -> None:
    done = tool_at("s3://key:hunter2@bucket/a", tmp_path, simulate)("status")
    assert done.exit_code == 2
    assert "hunter2" not in done.output


@pytest.mark.parametrize("endpoint", ["http://key:hunter2@127.0.0.1:1", "http://[::1", "http://127.0.0.1:99999"])
def test_an_endpoint_that_is_none_is_refused_and_not_shown(tmp_path: Path, simulate: Simulate, endpoint: str) -> None:
    done = tool_at("s3://bucket/a", tmp_path, simulate, AWS_ENDPOINT_URL=endpoint)("status")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: AWS_ENDPOINT_URL is no address of a server; give https://host:port, and credentials apart from it\n",
    )


def test_a_server_without_a_scheme_is_refused(tmp_path: Path, simulate: Simulate) -> None:
    done = tool_at("s3://bucket/b", tmp_path, simulate, AWS_ENDPOINT_URL="127.0.0.1:9000")("status")
    assert done.exit_code == 2
    assert "AWS_ENDPOINT_URL is no address" in done.stderr


def test_the_missing_extra_is_named(tmp_path: Path, simulate: Simulate) -> None:
    # In a process of its own: threads of this one may go on using the package.
    (tmp_path / "obstore.py").write_text("raise ImportError(__name__)\n", encoding="utf-8")
    done = tool_at("s3://bucket/c", tmp_path, simulate).run("status", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "install the extra [s3]" in done.stderr


# --- refusals, of a server that gives this one answer


class _Refusing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status: ClassVar[int]
    code: ClassVar[str]

    def log_message(self, *_: Any) -> None:
        """Write nothing."""

    def do_GET(self) -> None:  # noqa: N802
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"<Error><Code>{self.code}</Code><Message>no</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


REFUSALS = [
    (403, "AccessDenied", "access denied (AccessDenied)", "check what the credentials allow"),
    (403, "InvalidAccessKeyId", "the credentials are not accepted (InvalidAccessKeyId)", "check the key"),
    (403, "RequestTimeTooSkewed", "this machine's clock is too far from the object store's", "set the clock"),
    (400, "ExpiredToken", "the credentials have expired (ExpiredToken)", "get new ones"),
    (404, "NoSuchBucket", "the bucket does not exist (NoSuchBucket)", "create it"),
    (405, "Strange", "the object store answers HTTP 405 Method Not Allowed Strange", "check the network"),
]


@pytest.mark.parametrize(("status", "code", "problem", "cure"), REFUSALS, ids=[code for _, code, _, _ in REFUSALS])
@pytest.mark.parametrize("command", [("status",), ("universe", "list"), LOAD], ids=["status", "universe", "backfill"])
def test_a_refusal_is_one_line_with_what_to_do(
    command: tuple[str, ...], status: int, code: str, problem: str, cure: str, tmp_path: Path, simulate: Simulate
) -> None:
    if status == 404 and command != ("status",):
        pytest.skip("the answer to a request for an object that may not be there")
    with served(type("Handler", (_Refusing,), {"status": status, "code": code})) as url:
        tool = tool_at(
            f"s3://bucket/{code}-{command[0]}-{Path(url).name[-5:]}", tmp_path, simulate, **environment_of(url)
        )
        done = tool(*command)
    assert (done.exit_code, done.stdout) == (3, ""), done.output
    [line] = without_progress(done.stderr).splitlines()
    assert problem in line
    assert cure in line
    assert SECRET not in line


class _Vanishing(_Refusing):
    """A bucket with nothing in it, until it is gone."""

    status, code = 404, "NoSuchBucket"
    is_gone: ClassVar[bool] = False

    def do_GET(self) -> None:  # noqa: N802
        if self.is_gone:
            super().do_GET()
            return
        body = (
            b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name></ListBucketResult>'
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_bucket_that_has_gone_is_no_missing_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(_Vanishing) as url:
        for name, value in environment_of(url).items():
            monkeypatch.setenv(name, value)
        store = Store(root_at("s3://bucket/vanishing"))
        assert store.find(Market.SPOT, "BTC/USDT") is None
        assert "there is no spot BTC/USDT" in str(store.lacks(Market.SPOT, "BTC/USDT"))
        monkeypatch.setattr(_Vanishing, "is_gone", True)
        assert store.find(Market.SPOT, "BTC/USDT") is None
        with pytest.raises(OSError, match="the bucket does not exist"):
            store.lacks(Market.SPOT, "BTC/USDT")


def test_a_look_at_a_bucket_that_is_not_there_makes_none(seaweedfs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SeaweedFS makes a bucket of the first write to it."""
    for name, value in environment_of(seaweedfs).items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        with pytest.raises(StoreError, match="the bucket does not exist"):
            Store(root_at("s3://mistyped/klines")).require_writable()


@pytest.mark.parametrize("pairs", [[], ["--pair", "BTC/USDT", "--pair", "ETH/USDT"]], ids=["one", "several"])
def test_health_shows_its_other_signs_while_the_object_store_is_away(
    pairs: list[str], tmp_path: Path, simulate: Simulate
) -> None:
    env = environment_of("http://127.0.0.1:1")
    done = tool_at(f"s3://bucket/health{len(pairs)}", tmp_path, simulate, **env)(
        "--market", "spot", *pairs, "health", "--json"
    )
    signs = {sign["name"]: sign for sign in json.loads(done.stdout)}
    assert done.exit_code == 1
    assert not signs["data root"]["ok"]
    assert "http://127.0.0.1:1 does not answer" in signs["datasets"]["detail"]
    assert signs["exchange"]["ok"]
    assert not pairs or "http://127.0.0.1:1 does not answer" in signs["pairs"]["detail"]


# --- credentials


@pytest.fixture
def root(seaweedfs: str, monkeypatch: pytest.MonkeyPatch) -> ReadablePath:
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweedfs)
    return in_bucket()


def profiles(folder: Path) -> dict[str, str]:
    """Two files as in `~/.aws`, with a profile that has keys, one that runs a program, and one that cannot."""
    (folder / "credentials").write_text(
        f"[keys]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n", encoding="utf-8"
    )
    answer = {"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": SECRET}
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    (folder / "answer.json").write_text(json.dumps(answer | {"Expiration": expires}), encoding="utf-8")
    program = f"{sys.executable} -c \"print(open(r'{folder / 'answer.json'}').read())\""
    (folder / "config").write_text(
        f"[profile program]\ncredential_process = {program}\n"
        "[profile login]\nsso_session = none\nsso_account_id = 1\nsso_role_name = reader\n"
        "[sso-session none]\nsso_region = us-east-1\nsso_start_url = https://login.invalid/start\n",
        encoding="utf-8",
    )
    return {"AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"), "AWS_CONFIG_FILE": str(folder / "config")}


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["keys", "program"])
def test_a_profile_gives_the_credentials(profile: str, root: ReadablePath, tmp_path: Path, simulate: Simulate) -> None:
    tool = tool_at(root, tmp_path, simulate, AWS_PROFILE=profile, **profiles(tmp_path))
    done = tool.run(*LOAD)
    assert done.returncode == 0, done.stderr
    verified = tool.run("verify")
    assert verified.returncode == 0, verified.stderr


@pytest.mark.slow
def test_a_profile_that_gives_no_credentials(root: ReadablePath, tmp_path: Path, simulate: Simulate) -> None:
    files = profiles(tmp_path)
    unknown = tool_at(root, tmp_path, simulate, AWS_PROFILE="unknown", **files).run("status")
    assert unknown.returncode == 2
    assert "the profile unknown in" in unknown.stderr
    logged_out = tool_at(root, tmp_path, simulate, AWS_PROFILE="login", **files).run("status")
    [line] = logged_out.stderr.splitlines()
    assert logged_out.returncode == 3
    assert "the profile in ~/.aws gives no credentials (SSOTokenLoadError" in line
    assert "log in again" in line


class _Metadata(BaseHTTPRequestHandler):
    """What a machine of a cloud is asked for the credentials of its role."""

    def log_message(self, *_: Any) -> None:
        """Write nothing."""

    def do_PUT(self) -> None:  # noqa: N802
        self._answer("a-token")

    def do_GET(self) -> None:  # noqa: N802
        expires = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        keys = {"Code": "Success", "AccessKeyId": KEY, "SecretAccessKey": SECRET, "Token": "", "Expiration": expires}
        keys |= {"LastUpdated": expires, "Type": "AWS-HMAC"}
        self._answer("a-role" if self.path.endswith("/") else json.dumps(keys))

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.mark.slow
def test_the_role_of_a_machine_gives_the_credentials(root: ReadablePath, tmp_path: Path, simulate: Simulate) -> None:
    with served(_Metadata) as url:
        done = tool_at(root, tmp_path, simulate, AWS_METADATA_ENDPOINT=url).run(*LOAD)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_who_may_only_read_reads_and_writes_nothing(
    root: ReadablePath, tmp_path: Path, simulate: Simulate, seaweedfs: str
) -> None:
    tool = tool_at(root, tmp_path, simulate, **environment_of(seaweedfs))
    assert tool.run(*LOAD).returncode == 0
    tool.env |= {"AWS_ACCESS_KEY_ID": READER, "AWS_SECRET_ACCESS_KEY": READER_SECRET}
    for command in (("status",), ("verify",)):
        done = tool.run(*command)
        assert done.returncode == 0, done.stderr
    refused = tool.run("--market", "spot", "backfill", "--start", "2024-05-01", "--end", "2024-05-05")
    [line] = without_progress(refused.stderr).splitlines()
    assert refused.returncode == 3
    assert "access denied (AccessDenied)" in line


@pytest.mark.slow
def test_credentials_are_in_nothing_that_is_written(
    root: ReadablePath, tmp_path: Path, simulate: Simulate, seaweedfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    tool = tool_at(root, tmp_path / "machine", simulate, **environment_of(seaweedfs))
    said = [tool.run(*command) for command in (LOAD, ("status", "--json"), ("health",), ("verify", "--json"))]
    assert [done.returncode for done in said[:2]] == [0, 0]
    tool.env["AWS_SECRET_ACCESS_KEY"] = f"{SECRET}-of-another"
    said.append(tool.run(*LOAD))
    texts = [text for done in said for text in (done.stdout, done.stderr)]
    written = [path.read_bytes() for path in (tmp_path / "machine").rglob("*") if path.is_file()]
    written += [path.read_bytes() for path in root.glob("**/*.*")]
    assert len(written) > 5
    assert not any(SECRET.encode() in content for content in [*written, *(text.encode() for text in texts)])


@pytest.mark.slow
def test_spaces_and_letters_beyond_ascii_in_the_prefix(root: ReadablePath, tmp_path: Path, simulate: Simulate) -> None:
    address = f"s3://{BUCKET}/{root.root[-8:]} a/zürich"
    tool = tool_at(address, tmp_path, simulate, AWS_PROFILE="keys", **profiles(tmp_path))
    assert tool.run(*LOAD).returncode == 0
    assert "s3://" in tool.run("status", "--json").stdout
    assert tool.run("verify").returncode == 0
