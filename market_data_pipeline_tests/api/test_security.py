"""Requests without the token, under a foreign name, of other sites and too large are refused."""

import socket
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from market_data_pipeline.api.app import create_app
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.api.conftest import NOWHERE, client, served

# Each with its status without a body or parameters, where neither an exchange nor Dagster can be reached.
CHANGING = {
    ("POST", "/backfill"): 422,
    ("POST", "/verify"): 422,
    ("POST", "/combine"): 422,
    ("POST", "/report"): 422,
    ("POST", "/live"): 503,
    ("DELETE", "/live"): 422,
    ("POST", "/runs/0b3a7f0e/cancel"): 503,
}


@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_changing_needs_the_token(tmp_path: Path, method: str, path: str) -> None:
    api = client(tmp_path, token="open sesame")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic open sesame"}):
        refused = api.request(method, path, headers=headers)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert refused.headers["content-type"] == "application/problem+json"
        assert "MARKET_DATA_API_TOKEN" in refused.json()["detail"]
    let_in = api.request(method, path, headers={"Authorization": "Bearer open sesame"})
    assert let_in.status_code == CHANGING[method, path]


def test_every_route_that_changes_something_needs_the_token(tmp_path: Path) -> None:
    for token, needs in ((None, [{"token": []}, {}]), ("open sesame", [{"token": []}])):
        document = client(tmp_path, token=token).get("/openapi.json").json()
        assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
        secured = {
            (method.upper(), path.replace("{run_id}", "0b3a7f0e")): operation.get("security")
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        }
        assert {route for route, security in secured.items() if security} == set(CHANGING)
        assert {str(security) for security in secured.values() if security} == {str(needs)}
        assert {route for route in secured if route[0] != "GET"} == set(CHANGING)


def test_reading_needs_no_token(tmp_path: Path) -> None:
    assert client(tmp_path, token="open sesame").get("/status").json() == []


@pytest.mark.parametrize(("method", "path"), CHANGING)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_requests_of_other_sites_are_refused(tmp_path: Path, method: str, path: str, headers: dict[str, str]) -> None:
    refused = client(tmp_path).request(method, path, headers=headers)
    assert (refused.status_code, refused.json()["title"]) == (403, "Cross-site request")


def test_requests_of_our_own_page_are_not(tmp_path: Path) -> None:
    headers = {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}
    assert client(tmp_path).post("/verify", json={}, headers=headers).status_code == 422


def test_requests_of_our_own_page_through_a_proxy_with_tls_are_not(tmp_path: Path) -> None:
    headers = {"Origin": "https://klines.example", "Sec-Fetch-Site": "same-origin"}
    behind = client(tmp_path, hosts=[])
    assert behind.post("/verify", json={}, headers=headers).status_code == 422
    refused = behind.post("/verify", json={}, headers=headers | {"Host": "klines.example"})
    assert (refused.status_code, refused.json()["title"]) == (400, "Unknown host")
    assert "let a proxy call it so" in refused.json()["detail"]


def test_no_redirect_and_no_page_names_the_host_that_a_proxy_calls(tmp_path: Path) -> None:
    with served(create_app(Settings(market_data_dir=tmp_path), dagster_url=NOWHERE)) as url:
        of_proxy = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "data.example", "X-Forwarded-Proto": "https"}
        asked = {"/": "/browse", "/browse/?market=spot": "/browse?market=spot", "/status/": "/status"}
        for path, place in asked.items():
            answer = requests.get(url + path, headers=of_proxy, allow_redirects=False, timeout=10)
            assert (answer.is_redirect, answer.headers["Location"]) == (True, place)
        for path in ("/browse", "/browse/coverage", "/openapi.json", "/status"):
            page = requests.get(url + path, headers=of_proxy, timeout=10)
            assert page.ok and url.removeprefix("http://") not in page.text


def test_no_other_site_may_read(tmp_path: Path) -> None:
    answer = client(tmp_path).get("/status", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_name_that_someone_else_points_here_is_unknown(tmp_path: Path) -> None:
    bound = client(tmp_path, hosts=[])
    assert bound.get("/status").status_code == 200
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        assert bound.get("/status", headers={"Host": host}).status_code == 400
    for host in ("localhost:8000", "[::1]:8000", "LOCALHOST"):
        assert bound.get("/status", headers={"Host": host}).status_code == 200


def test_requests_are_bounded(tmp_path: Path) -> None:
    api = client(tmp_path)
    assert api.post("/backfill", content=b" " * 70_000).status_code == 413
    assert api.post("/backfill", content=iter([b"{}"])).status_code == 413


@pytest.mark.parametrize("length", ["70000", "-1", "+5", "1e3", "0x10", "²", "9" * 5000, "2, 70000"])
def test_a_length_that_is_large_or_no_number_is_refused(tmp_path: Path, length: str) -> None:
    headers = {"Content-Length": length.encode("latin-1")}
    assert client(tmp_path).post("/backfill", content=b"{}", headers=headers).status_code == 413


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "cHuNkEd", "chunked ", "gzip, chunked", "identity"])
@pytest.mark.parametrize("length", [None, "2"])
def test_a_body_in_pieces_is_refused_however_it_is_spelled(tmp_path: Path, coding: str, length: str | None) -> None:
    head = [f"Transfer-Encoding: {coding}", *([f"Content-Length: {length}"] if length else [])]
    assert raw_status(tmp_path, *head, body=b"11170\r\n" + b" " * 70_000 + b"\r\n0\r\n\r\n") in {400, 413}


def raw_status(root: Path, *head: str, body: bytes) -> int:
    """The status of a POST that no client would send."""
    with served(create_app(Settings(market_data_dir=root), dagster_url=NOWHERE)) as url:
        host = url.removeprefix("http://")
        name, _, port = host.partition(":")
        with socket.create_connection((name, int(port)), timeout=30) as connection:
            lines = ["POST /backfill HTTP/1.1", f"Host: {host}", "Content-Type: application/json", *head, "", ""]
            connection.sendall("\r\n".join(lines).encode())
            with suppress(ConnectionError):
                connection.sendall(body)
            return int(connection.recv(200).split()[1])


def test_nothing_changes_by_get(tmp_path: Path) -> None:
    for _, path in CHANGING:
        assert client(tmp_path).get(path).status_code == 405


def test_every_answer_bears_the_headers(tmp_path: Path) -> None:
    api = client(tmp_path)
    for answer in (api.get("/status"), api.get("/browse"), api.get("/nothing"), api.post("/backfill", content=b"x")):
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
