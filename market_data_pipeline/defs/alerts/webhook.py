"""Sending a message to a webhook, whose URL is a secret.

Belongs here: one message, its tries, and why it was not delivered, in words without the URL. Does not belong here: what
is sent, and when (`memory`).
"""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import orjson
from pydantic import SecretStr

from market_data_pipeline.core.sources.transport import NoResponse, Transport

_DEADLINE_S = 10
_PAUSES_S = (1.0, 3.0)
_MOST_BYTES = 65_536
_MAY_PASS = {408, 425, 429}


class NotDelivered(Exception):
    """The webhook did not take a message; the text has the reason, without the URL."""


class Webhook:
    """A webhook that takes JSON. Each use connects anew: minutes lie between two messages."""

    def __init__(self, url: SecretStr) -> None:
        """Send nothing yet."""
        self._url = url

    def send(self, body: Mapping[str, Any], *, until_s: float) -> None:
        """Send a message. What may pass is tried three times, as long as no try begins after `until_s` (monotonic).

        Raises:
            NotDelivered: it was not taken, as far as is known.
        """
        content = orjson.dumps(body)
        for pause_s in (*_PAUSES_S, None):
            reason, may_pass = self._try(content)
            if not reason:
                return
            if not may_pass or pause_s is None or time.monotonic() + pause_s > until_s:
                raise NotDelivered(reason)
            time.sleep(pause_s)

    def _try(self, content: bytes) -> tuple[str, bool]:
        """Why the webhook did not take it, empty if it did; and whether that may pass."""
        parts = urlsplit(self._url.get_secret_value())
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with closing(Transport(f"{parts.scheme}://{parts.netloc}", connections=1, deadline_s=_DEADLINE_S)) as transport:
            try:
                headers = {"Content-Type": "application/json"}
                answer = transport.request(target, method="POST", headers=headers, body=content, most_bytes=_MOST_BYTES)
            except NoResponse as error:
                reason = str(error)
                for secret in filter(None, (self._url.get_secret_value(), parts.netloc, parts.hostname)):
                    reason = reason.replace(secret, "the webhook")
                return f"the webhook does not answer ({reason})", True
        if 200 <= answer.status < 300:
            return "", False
        reason = f"the webhook answered with HTTP {answer.status}; check MARKET_DATA_ALERT_URL"
        return reason, answer.status in _MAY_PASS or answer.status >= 500
