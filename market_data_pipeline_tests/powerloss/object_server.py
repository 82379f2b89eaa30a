"""An object store of this process, of which each write can be applied, have its answer lost, or be applied much later.

Belongs here: the part of S3's protocol that the store uses, the notes of all writes, and their fates. Does not belong
here: what is tested, and which fates are tried (`objects`).

Writes are applied one at a time. The time of the server is that of this machine; what is put in by `restore` is old.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

_LONG_AGO_S = 86_400


class Fate(Enum):
    """What becomes of a write."""

    ANSWERED = "answered"
    ANSWER_LOST = "applied, and the answer is lost"
    LATE = "not answered, and applied later"


@dataclass(frozen=True)
class Write:
    """A change of one object. `content` is None for a removal; `expected` is an ETag, `*` for no object, or None.

    `after` is how many writes had been applied when it arrived: whoever sent it may have known of those.
    """

    key: str
    content: bytes | None
    expected: str | None = None
    after: int = 0

    def is_allowed(self, found: "_Object | None") -> bool:
        if self.expected is None:
            return True
        return found is None if self.expected == "*" else found is not None and found.etag == self.expected


@dataclass(frozen=True)
class _Object:
    content: bytes
    modified_s: float

    @property
    def etag(self) -> str:
        return hashlib.md5(self.content, usedforsecurity=False).hexdigest()


Objects = Mapping[str, bytes]
"""The content of each object by its key."""


@dataclass
class ObjectServer:
    """The server. `url` is its address, `applied` has all writes in the order in which they were applied."""

    url: str = ""
    applied: list[Write] = field(default_factory=list)
    late: list[Write] = field(default_factory=list)
    """Writes that nobody waits for any more, and that were not applied yet."""
    fate_of: Callable[[Write], Fate] = lambda _: Fate.ANSWERED
    before_write: Callable[[Write], None] = lambda _: None
    """Called before each write is looked at."""
    pause_s: float = 0
    """So long a write waits, so that others which were sent at the same time arrive."""
    _objects: dict[str, _Object] = field(default_factory=dict)
    _uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _numbers: Iterator[int] = field(default_factory=count)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Those whose key begins with the prefix, without it."""
        with self._lock:
            found = sorted(self._objects.items())
        return {key.removeprefix(prefix): each.content for key, each in found if key.startswith(prefix)}

    def restore(self, objects: Objects, prefix: str = "", *, ago_s: float = _LONG_AGO_S) -> None:
        """Have these objects, with keys below the prefix, as if they had been written so long ago."""
        old_s = time.time() - ago_s
        with self._lock:
            self._objects |= {prefix + key: _Object(content, old_s) for key, content in objects.items()}

    def forget(self) -> None:
        """Be as empty as at the beginning."""
        with self._lock:
            self._objects, self._uploads = {}, {}
            self.applied, self.late = [], []
            self.fate_of, self.before_write = lambda _: Fate.ANSWERED, lambda _: None

    def apply_late(self) -> None:
        """Apply the writes that nobody waits for, if their conditions hold now."""
        with self._lock:
            late, self.late = self.late, []
            for write in late:
                self._apply(write)

    # --- of the handler

    def write(self, key: str, content: bytes | None, expected: str | None) -> tuple[int, str] | None:
        """The status and the ETag of a write; None if nobody is told."""
        write = Write(key, content, expected, len(self.applied))
        if self.pause_s:
            time.sleep(self.pause_s)
        with self._lock:
            self.before_write(write)
            fate = self.fate_of(write)
            if fate is Fate.LATE:
                self.late.append(write)
                return None
            answer = self._apply(write)
            return None if fate is Fate.ANSWER_LOST else answer

    def read(self, key: str) -> _Object | None:
        with self._lock:
            return self._objects.get(key)

    def begin_upload(self) -> str:
        with self._lock:
            upload = f"upload-{next(self._numbers)}"
            self._uploads[upload] = {}
            return upload

    def take_part(self, upload: str, number: int, content: bytes) -> str:
        with self._lock:
            self._uploads[upload][number] = content
        return _Object(content, 0).etag

    def whole_of(self, upload: str) -> bytes:
        with self._lock:
            return b"".join(content for _, content in sorted(self._uploads.get(upload, {}).items()))

    def keys_below(self, prefix: str, delimiter: str) -> tuple[dict[str, _Object], set[str]]:
        """The objects right below a prefix, and the prefixes of the others."""
        found, folders = dict[str, _Object](), set[str]()
        with self._lock:
            for key, each in sorted(self._objects.items()):
                if key.startswith(prefix):
                    head, cut, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
                    if cut:
                        folders.add(f"{prefix}{head}{delimiter}")
                    else:
                        found[key] = each
        return found, folders

    def _apply(self, write: Write) -> tuple[int, str]:
        if not write.is_allowed(self._objects.get(write.key)):
            return 412, ""
        if write.content is None:
            if self._objects.pop(write.key, None) is None:
                return 204, ""
            self.applied.append(write)
            return 204, ""
        made = self._objects[write.key] = _Object(write.content, time.time())
        self.applied.append(write)
        return 200, made.etag


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet: the client would wait 40 ms to acknowledge the first of two.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server_of: ClassVar[ObjectServer]

    def log_message(self, *_: Any) -> None:
        """Write nothing."""

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    @property
    def _query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self) -> None:  # noqa: N802
        if "list-type" in self._query:
            self._list()
            return
        if (found := self._found()) is None:
            return
        start, end = 0, len(found.content)
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1, end)
        more = {"Content-Range": f"bytes {start}-{end - 1}/{len(found.content)}"} if wanted else {}
        self._send(206 if wanted else 200, found.content[start:end], {**_about(found), **more})

    def do_HEAD(self) -> None:  # noqa: N802
        if (found := self._found()) is not None:
            self._send(200, b"", {**_about(found), "Content-Length": str(len(found.content))})

    def do_PUT(self) -> None:  # noqa: N802
        body, query = self._body(), self._query
        if "partNumber" in query:
            etag = self.server_of.take_part(query["uploadId"], int(query["partNumber"]), body)
            self._send(200, b"", {"ETag": f'"{etag}"'})
        elif source := self.headers.get("x-amz-copy-source"):
            if (found := self.server_of.read(unquote(source).lstrip("/").partition("/")[2])) is None:
                self._send_error(404, "NoSuchKey")
                return
            self._answer_write(found.content, "CopyObjectResult")
        else:
            self._answer_write(body)

    def do_POST(self) -> None:  # noqa: N802
        body, query = self._body(), self._query
        if "delete" in query:
            keys = [key.text or "" for key in ElementTree.fromstring(body).iter() if key.tag.endswith("Key")]
            answers = [self.server_of.write(key, None, None) for key in keys]
            if None in answers:
                self._hang_up()
                return
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            self._send_xml(f"<DeleteResult>{deleted}</DeleteResult>")
        elif "uploads" in query:
            upload = self.server_of.begin_upload()
            self._send_xml(
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
        else:
            self._answer_write(self.server_of.whole_of(query["uploadId"]), "CompleteMultipartUploadResult")

    def do_DELETE(self) -> None:  # noqa: N802
        if "uploadId" in self._query or self.server_of.write(self._key, None, None):
            self._send(204, b"", {})
        else:
            self._hang_up()

    # --- inside

    def _found(self) -> _Object | None:
        found, wanted = self.server_of.read(self._key), self.headers.get("If-Match")
        if found is None:
            self._send_error(404, "NoSuchKey")
            return None
        if wanted and wanted.strip('"') != found.etag:
            self._send_error(412, "PreconditionFailed")
            return None
        return found

    def _answer_write(self, content: bytes, result: str = "") -> None:
        expected = self.headers.get("If-None-Match") or (self.headers.get("If-Match") or "").strip('"') or None
        answer = self.server_of.write(self._key, content, expected)
        if answer is None:
            self._hang_up()
            return
        status, etag = answer
        if status == 412:
            self._send_error(412, "PreconditionFailed")
        elif result:
            self._send_xml(f"<{result}><ETag>&quot;{etag}&quot;</ETag></{result}>")
        else:
            self._send(200, b"", {"ETag": f'"{etag}"'})

    def _list(self) -> None:
        query = self._query
        found, folders = self.server_of.keys_below(query.get("prefix", ""), query.get("delimiter", ""))
        objects = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(each.content)}</Size><ETag>&quot;{each.etag}&quot;</ETag>"
            f"<LastModified>{_iso(each.modified_s)}</LastModified></Contents>"
            for key, each in found.items()
        )
        prefixes = "".join(
            f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in sorted(folders)
        )
        self._send_xml(f"<ListBucketResult><IsTruncated>false</IsTruncated>{objects}{prefixes}</ListBucketResult>")

    def _send_xml(self, text: str) -> None:
        self._send(200, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode(), {"Content-Type": "application/xml"})

    def _send_error(self, status: int, code: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), {})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            with suppress(OSError):
                self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True


def _about(found: _Object) -> dict[str, str]:
    return {"ETag": f'"{found.etag}"', "Last-Modified": formatdate(found.modified_s, usegmt=True)}


def _iso(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at_s))


@contextmanager
def serving() -> Iterator[ObjectServer]:
    """An empty server."""
    served = ObjectServer()
    handler = type("Handler", (_Handler,), {"server_of": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        served.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
