"""The listing of the archive's bucket, page by page.

Belongs here: its address, the names on a page, how many pages are read. Does not belong here: what a name means
(`listing`, `market`), the files (`files`).

The bucket is listed at another address than the files are served from, a thousand names a page.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjects.html
"""

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode, urlsplit

from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential_jitter,
)

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.sources.breaker import Breaker
from market_data_pipeline.core.sources.planning.traffic import Traffic
from market_data_pipeline.core.sources.transport import NoResponse, Transport

ADDRESS = "https://s3-ap-northeast-1.amazonaws.com"
_BUCKET = "data.binance.vision"
# A thousand names have about 400 kB.
_MOST_PAGE_BYTES, _MOST_PAGES = 1 << 21, 100
_DEADLINE_S = 20
# Three pages in a row that fail say that the bucket cannot be listed; later it may be.
_FAILURES, _PAUSE_S = 3, 30
_FOLDERS = re.compile(rb"<CommonPrefixes>\s*<Prefix>([^<]*)</Prefix>")
_KEYS = re.compile(rb"<Key>([^<]*)</Key>")
_SIZE = re.compile(rb"<Size>\s*(\d{1,12})\s*</Size>")
_NEXT = re.compile(rb"<NextMarker>([^<]*)</NextMarker>")
_TRUNCATED = re.compile(rb"<IsTruncated>\s*true\s*</IsTruncated>")


class _PassingFault(Exception):
    """A fault that a retry may not meet."""


@dataclass(frozen=True, slots=True)
class BucketPage:
    """The names on one page: folders end with the delimiter, `keys` are files. `marker` is None on the last page.

    `sizes` has the bytes of each file of which the page says them.
    """

    folders: tuple[str, ...]
    keys: tuple[str, ...]
    marker: str | None
    sizes: Mapping[str, int] = field(default_factory=dict)


class Bucket:
    """The bucket of the archive. Threads may share it."""

    def __init__(
        self, *, base_url: str | None, connections: int, tries: int = 1, deadline_s: float | None = None
    ) -> None:
        """Send no request yet.

        Args:
            base_url: replaces the listing's own address.
            connections: how many connections are kept open.
            tries: how often a page is requested before its fault is an error.
            deadline_s: how long one request may take, None for as long as usual.
        """
        self.address = (base_url or ADDRESS).rstrip("/")
        self._path = f"{urlsplit(self.address).path}/{_BUCKET}"
        self._transport = Transport(self.address, connections=connections, deadline_s=deadline_s or _DEADLINE_S)
        self._breaker = Breaker(failures=_FAILURES, pause_s=_PAUSE_S)
        self._fault = ""
        self._stopped = threading.Event()
        self._retrying = Retrying(
            retry=retry_if_exception_type(_PassingFault),
            wait=wait_exponential_jitter(multiplier=0.3, max=5, jitter=0.3),
            stop=stop_after_attempt(tries) | stop_when_event_set(self._stopped),
            sleep=sleep_using_event(self._stopped),
            reraise=True,
        )

    def page(self, prefix: str, *, delimiter: str, marker: str = "", most: int | None = None) -> BucketPage:
        """Return the names after the marker that begin with the prefix, `most` of them or a thousand.

        Raises:
            SourceUnavailable: there is no response, or it is no listing.
        """
        asked = {"delimiter": delimiter, "prefix": prefix, "marker": marker, "max-keys": most}
        query = urlencode({name: value for name, value in asked.items() if value not in (None, "")})
        if not self._breaker.may_try():
            raise SourceUnavailable(self._fault)
        try:
            body: bytes = self._retrying(self._body, f"{self._path}?{query}")
        except _PassingFault as error:
            self._fault = f"the archive cannot be listed: {error}"
            self._breaker.note_failure()
            raise SourceUnavailable(self._fault) from error
        self._breaker.note_answer()
        folders, keys = _texts(_FOLDERS, body), _texts(_KEYS, body)
        following = None
        if _TRUNCATED.search(body):
            following = max((*_texts(_NEXT, body), *folders[-1:], *keys[-1:]), default=None)
        return BucketPage(folders, keys, following, _sizes(body))

    def pages(self, prefix: str, *, delimiter: str, marker: str = "") -> Iterator[BucketPage]:
        """Yield all pages after the marker.

        Raises:
            SourceUnavailable: a page cannot be had, or there are too many.
        """
        for _ in range(_MOST_PAGES):
            page = self.page(prefix, delimiter=delimiter, marker=marker)
            yield page
            if page.marker is None or page.marker <= marker:
                return
            marker = page.marker
        raise SourceUnavailable(f"the archive cannot be listed: more than {_MOST_PAGES} pages")

    @property
    def traffic(self) -> Traffic:
        """What was answered so far."""
        return self._transport.traffic

    def close(self) -> None:
        """End all waiting, and close the connections."""
        self._stopped.set()
        self._transport.close()

    def _body(self, path: str) -> bytes:
        try:
            response = self._transport.request(path, most_bytes=_MOST_PAGE_BYTES)
        except NoResponse as error:
            raise _PassingFault(str(error)) from error
        if response.status != 200 or b"<ListBucketResult" not in response.body[:1000]:
            raise _PassingFault(f"HTTP {response.status}")
        # Names are found without parsing the page, and one that is cut off would look like the last one.
        if not response.body.rstrip().endswith(b"</ListBucketResult>"):
            raise _PassingFault("a page without its end")
        return response.body


def _texts(pattern: "re.Pattern[bytes]", body: bytes) -> tuple[str, ...]:
    return tuple(unescape(text.decode("utf-8", "replace")) for text in pattern.findall(body))


def _sizes(body: bytes) -> dict[str, int]:
    """The sizes of the files by their names; of a file, the size stands behind its name."""
    found = {}
    for part in body.split(b"<Contents>")[1:]:
        if (key := _KEYS.search(part)) and (size := _SIZE.search(part)):
            found[unescape(key[1].decode("utf-8", "replace"))] = int(size[1])
    return found
