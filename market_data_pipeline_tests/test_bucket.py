"""The data root in a bucket, by the command line: the same store, byte for byte, and each trouble is one line."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

import market_data_pipeline as mdp
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.places import ReadablePath, environment_of, in_bucket
from market_data_pipeline_tests.servers import free_ports
from market_data_pipeline_tests.support import NOON, MarketData, Simulate, wait_until, without_progress

pytestmark = pytest.mark.slow
DAYS = ("--start", "2024-05-01", "--end", "2024-05-11")
LOAD = ("--market", "spot", "backfill", *DAYS)


@pytest.fixture
def root(seaweedfs: str, monkeypatch: pytest.MonkeyPatch) -> ReadablePath:
    for name, value in environment_of(seaweedfs).items():
        monkeypatch.setenv(name, value)
    return in_bucket()


@pytest.fixture
def tool(root: ReadablePath, tmp_path: Path, simulate: Simulate, seaweedfs: str) -> MarketData:
    """The command line with its data root in a bucket; what stays on the machine is in the test's folder."""
    return tool_of(root, seaweedfs, simulate().url, tmp_path)


def tool_of(root: Any, url: str, exchange_url: str, folder: Path) -> MarketData:
    local = {"DAGSTER_HOME": str(folder / "dagster"), "LOG_DIR": str(folder / "logs")}
    return MarketData(root, exchange_url, environment_of(url) | local)


def content_of(folder: Any) -> dict[str, bytes]:
    """The files that are the same whatever the place is, by their paths below the root."""
    names = {"dataset.json", "manifest.json"}
    return {
        str(path).removeprefix(str(folder)): path.read_bytes()
        for path in folder.glob("**/*.*")
        if path.suffix == ".parquet" or path.name in names
    }


def test_the_store_in_a_bucket_is_that_in_a_folder_to_the_byte(
    tool: MarketData, root: ReadablePath, tmp_path: Path
) -> None:
    local = MarketData(tmp_path / "root", tool.url)
    assert tool.run(*LOAD).returncode == 0
    assert local(*LOAD).exit_code == 0
    for each in (tool, local):
        assert each("--market", "spot", "combine").exit_code == 0
    assert content_of(root) == content_of(tmp_path / "root")
    assert "10 unchanged" in tool(*LOAD).stdout
    verified = tool("--market", "spot", "verify")
    assert verified.exit_code == 0, verified.stdout
    klines = [
        mdp.open_dataset("BTC/USDT", market="spot", root=str(each)).to_arrow() for each in (root, tmp_path / "root")
    ]
    assert klines[0].equals(klines[1])
    assert klines[0].num_rows == 14_400


def test_python_tells_of_a_combined_file_where_it_lies(
    tool: MarketData, root: ReadablePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    assert tool(*LOAD).exit_code == 0
    one = mdp.combine("BTC/USDT", market="spot", root=str(root))
    assert str(one.path) == f"{root}/binance/BTCUSDT/1m/combined/BTCUSDT_1m_all.parquet"
    assert len(storage_of(one.path).read(one.path, 1 << 30)) == one.size_bytes
    [of_many] = mdp.combine_many("BTC*", market="spot", root=str(root)).results
    assert of_many.combined is not None
    assert (one.path, one.path.name, one.path.parent) == (
        of_many.combined.path,
        of_many.combined.path.name,
        of_many.combined.path.parent,
    )


def test_a_load_that_is_killed_is_finished_by_the_next_one(
    tool: MarketData, root: ReadablePath, tmp_path: Path
) -> None:
    chunks = root / "binance" / "BTCUSDT" / "1m" / "chunks"
    with tool.start("--market", "spot", "backfill", "--source", "rest", *DAYS) as process:
        wait_until(lambda: len(storage_of(chunks).names(chunks)) >= 2)
        process.kill()
    assert tool.run("--market", "spot", "backfill", "--source", "rest", *DAYS).returncode == 0
    local = MarketData(tmp_path / "root", tool.url)
    assert local("--market", "spot", "backfill", "--source", "rest", *DAYS).exit_code == 0
    assert content_of(root) == content_of(tmp_path / "root")
    assert tool("--market", "spot", "verify").exit_code == 0


def test_many_pairs_are_loaded_by_several_processes(tool: MarketData, root: ReadablePath, tmp_path: Path) -> None:
    load = ("--market", "spot", "--pair", "BTC/USDT", "--pair", "ETH/USDT", "--pair", "BNB/USDT", "backfill", *DAYS)
    done = tool.run(*load)
    assert done.returncode == 0, done.stdout + done.stderr
    local = MarketData(tmp_path / "root", tool.url)
    assert local(*load).exit_code == 0
    assert content_of(root) == content_of(tmp_path / "root")


def test_a_damaged_object_is_found_and_repaired_and_a_copy_of_it_is_kept(tool: MarketData, root: ReadablePath) -> None:
    assert tool(*LOAD).exit_code == 0
    chunks = root / "binance" / "BTCUSDT" / "1m" / "chunks"
    path = next(each for each in chunks.iterdir() if each.name.endswith("_2024-05-02.parquet"))
    before = path.read_bytes()
    damaged = before[:-1] + bytes([before[-1] ^ 1])
    path.write_bytes(damaged)
    assert tool("--market", "spot", "verify").exit_code == 1
    repaired = tool("--market", "spot", "verify", "--repair")
    assert repaired.exit_code == 0, repaired.stdout
    assert path.read_bytes() == before
    assert (path.parent.with_name("quarantine") / path.name).read_bytes() == damaged


def test_live_mode_keeps_its_klines_in_the_bucket(tool: MarketData, root: ReadablePath, simulate: Simulate) -> None:
    tool.url = simulate(now=NOON.replace(second=35), speed=1).url
    assert tool(*LOAD).exit_code == 0
    journal = root / "binance" / ".journal"
    followed = tool.run("--market", "spot", "live", "--minutes", "1")
    assert followed.returncode == 0, followed.stderr
    # As many as minutes ended since the load, which a busy machine draws out.
    assert re.search(r"[1-9]\d* klines? added", followed.stderr), followed.stderr
    # In order, it leaves no klines that only the journal has.
    assert [name for name in storage_of(journal).names(journal) if name.endswith(".journal")] == []
    assert tool("--market", "spot", "verify").exit_code == 0


# --- trouble, one line each


def refused(tool: MarketData, exit_code: int) -> str:
    done = tool(*LOAD)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    [line] = without_progress(done.stderr).splitlines()
    assert "test-secret" not in line
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    "address", ["s3://", "s3://b", "http://host/bucket", "s3://bucket/a?b", "s3://key:secret@bucket/a"]
)
def test_what_is_no_address_of_a_bucket_is_refused(address: str, tmp_path: Path, simulate: Simulate) -> None:
    line = refused(tool_of(address, "http://127.0.0.1:1", simulate().url, tmp_path), 2)
    assert "give a folder, or s3://bucket/prefix" in line


def test_a_server_that_is_not_there(root: ReadablePath, tmp_path: Path, simulate: Simulate) -> None:
    [port] = free_ports(1)
    line = refused(tool_of(root, f"http://127.0.0.1:{port}", simulate().url, tmp_path), 3)
    assert f"127.0.0.1:{port}" in line
    assert "does not answer" in line


def test_wrong_credentials(tool: MarketData) -> None:
    tool.env["AWS_SECRET_ACCESS_KEY"] = "wrong"
    assert "the credentials are not accepted (SignatureDoesNotMatch)" in refused(tool, 3)


@pytest.mark.parametrize("ignored", ["If-None-Match", "If-Match"])
def test_a_store_without_conditions_is_refused(ignored: str, tmp_path: Path, simulate: Simulate) -> None:
    with careless_store(ignored) as url:
        line = refused(tool_of("s3://bucket/prefix", url, simulate().url, tmp_path), 3)
    assert "s3://bucket/prefix cannot be a data root" in line
    assert "use an object store with conditional writes" in line


class _Careless(BaseHTTPRequestHandler):
    """Keeps objects, and does not look at one of the headers that have a condition."""

    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, bytes]]
    ignored: ClassVar[str]
    changing = threading.Lock()

    def log_message(self, *_: Any) -> None:
        """Write nothing."""

    def do_PUT(self) -> None:  # noqa: N802
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.changing:
            there = self.objects.get(self.path)
            is_refused = there is not None and self._condition("If-None-Match") is not None
            expected = self._condition("If-Match")
            is_refused |= expected is not None and expected != tag_of(there)
            if not is_refused:
                self.objects[self.path] = content
        self._answer(412 if is_refused else 200, b"", tag=tag_of(content))

    def do_GET(self) -> None:  # noqa: N802
        there = self.objects.get(self.path)
        if "list-type" in self.path:
            self._answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        elif there is None:
            self._answer(404, b"")
        else:
            self._answer(200, there, tag=tag_of(there))

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:  # noqa: N802 - several objects are deleted so
        key = self.rfile.read(int(self.headers.get("Content-Length", 0))).split(b"<Key>")[1].partition(b"<")[0]
        self._answer(200, b"<DeleteResult><Deleted><Key>%s</Key></Deleted></DeleteResult>" % key)

    def do_DELETE(self) -> None:  # noqa: N802
        self.objects.pop(self.path, None)
        self._answer(204, b"")

    def _condition(self, name: str) -> str | None:
        return None if name == self.ignored else self.headers.get(name)

    def _answer(self, status: int, body: bytes, tag: str = "") -> None:
        self.send_response(status)
        if tag:
            self.send_header("ETag", tag)
            self.send_header("Last-Modified", "Fri, 27 Nov 2026 11:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def tag_of(content: bytes | None) -> str:
    return f'"{hash(content)}"'


@contextmanager
def careless_store(ignored: str) -> Iterator[str]:
    """A server of objects that does not look at this header."""
    handler = type("Handler", (_Careless,), {"objects": {}, "ignored": ignored})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
