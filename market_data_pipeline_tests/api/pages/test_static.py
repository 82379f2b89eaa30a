"""The files that pages load: which they are, how long a browser keeps them, and that no other file is served."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from market_data_pipeline_tests.api.pages.browsing import Browser, load
from market_data_pipeline_tests.support import Simulate, chunk_files


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return Browser(tmp_path).client


def urls_on(html: str) -> list[str]:
    return re.findall(r'(?:src|href)="(/static/[^"]*)"', html)


def test_static_files_are_kept_and_compressed(tmp_path: Path, simulate: Simulate) -> None:
    load(tmp_path, simulate().url, start="2024-02-01", end="2024-02-02")
    (chunk,) = chunk_files(tmp_path).values()
    browser = Browser(tmp_path)
    links = urls_on(browser.file(chunk.relative_to(tmp_path).as_posix()).answer.text)
    assert {link.partition("?")[0] for link in links} == {
        "/static/app.css",
        "/static/app.js",
        "/static/chart.js",
        "/static/plotly.min.js",
    }
    for link in links:
        answer = browser.client.get(link)
        assert answer.status_code == 200
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"]
        plain = browser.client.get(link.partition("?")[0], headers={"Accept-Encoding": "identity"})
        assert plain.content == answer.content
        assert plain.headers["cache-control"] == "no-cache"
        assert plain.headers["vary"] == answer.headers["vary"] == "Accept-Encoding"
        again = browser.client.get(link, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["vary"] == "Accept-Encoding"
        assert "immutable" in again.headers["cache-control"]


def test_a_url_with_another_version_is_not_kept(client: TestClient) -> None:
    assert client.get("/static/app.js?v=0123456789abcdef").headers["cache-control"] == "no-cache"


def test_types_do_not_depend_on_the_system(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the registry of Windows may say.
    monkeypatch.setattr("mimetypes.guess_type", lambda *_, **__: ("text/plain", None))
    (style,) = {url for url in urls_on(client.get("/browse").text) if ".css" in url}
    assert client.get(style).headers["content-type"] == "text/css; charset=utf-8"
    assert client.get("/static/app.js").headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "..%2Fbrowse.py",
        "../browse.py",
        "%2Fetc%2Fpasswd",
        "",
        "%00",
        "x" * 5000,
        # In the folder of the plotly package that the chart library is in.
        "templates",
        "templates/plotly.json",
        "widgetbundle.js",
        "../__init__.py",
        "..%5C__init__.py",
    ],
)
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    refused = client.get(f"/static/{name}", follow_redirects=False)
    assert (refused.status_code, refused.headers["content-type"]) == (404, "application/problem+json")
