"""JSON over HTTP with the standard library: time limits, retries, and a key that never leaves its header."""

import contextlib
import http.client
import json
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from elegans.reasoning.scorer import ScorerError

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses after which a request is sent again."""
MAX_BYTES = 1 << 26
"""The largest answer that is read."""


@dataclass
class JsonClient:
    """Posts JSON to one server and keeps the connection.

    Args:
        base_url: ``http://host:port/v1`` or ``https://...``.
        key_variable: the environment variable that holds the key; none is sent if it is unset. The key is read for each
            request and kept nowhere.
        timeout: seconds for one whole request.
        retries: how often a request is sent again after a lost connection, a timeout, or a status that says "later".
        backoff: seconds before the first of these, doubled each time; a server may ask for up to 60 (``Retry-After``).

    Redirections are not followed, as they would carry the key elsewhere. Raises `ValueError` for another kind of address.
    """

    base_url: str
    key_variable: str | None = None
    timeout: float = 60.0
    retries: int = 3
    backoff: float = 0.5
    _connection: http.client.HTTPConnection | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"a server's address begins with http:// or https://, got {parts.scheme or self.base_url!r}"
            )
        if parts.username or parts.password:
            self.base_url = "..."
            raise ValueError("a server's address holds no user or password; name an environment variable for the key")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = parts.path.rstrip("/")

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The object that the server answers. Raises `ScorerError` if there is none after all retries."""
        payload = json.dumps(body, allow_nan=False).encode()
        key = self._key()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        reason, wait = "", 0.0
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(max(wait, self.backoff * 2 ** (attempt - 1)))
            wait = 0.0
            try:
                status, answer, later = self._send(f"{self._path}{path}", payload, headers)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                reason = f"no answer within {self.timeout:g} s" if isinstance(error, TimeoutError) else _named(error)
                continue
            if status == 200:
                return self._object(answer)
            reason = f"status {status}: {_message(answer)}"
            if status not in RETRIED:
                raise self._error(reason, key)
            wait = min(60.0, later)
        raise self._error(f"{reason} ({self.retries + 1} attempts)", key)

    def close(self) -> None:
        """Hang up; the next request calls again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        self.close()

    def _send(self, path: str, payload: bytes, headers: dict[str, str]) -> tuple[int, bytes, float]:
        """Status, body, and seconds that the server asks to wait, within `timeout` altogether."""
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=self.timeout)
        connection, deadline = self._connection, time.monotonic() + self.timeout
        # A socket's own time limit begins anew with every byte that drips in.
        timer = threading.Timer(self.timeout, _cut, [connection])
        timer.start()
        try:
            connection.request("POST", path, payload, headers)
            response = connection.getresponse()
            answer = response.read(MAX_BYTES)
            if response.read(1):
                raise ScorerError(f"server {self._host}: an answer of more than {MAX_BYTES} bytes")
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
        if response.length or time.monotonic() > deadline:
            raise TimeoutError if time.monotonic() > deadline else http.client.IncompleteRead(b"", response.length)
        asked = response.headers.get("Retry-After", "")
        return response.status, answer, float(asked) if asked.isdecimal() and len(asked) < 9 else 0.0

    def _key(self) -> str | None:
        key = os.environ.get(self.key_variable) if self.key_variable else None
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError(f"the key in {self.key_variable} has characters that no header can carry")
        return key or None

    def _object(self, answer: bytes) -> dict[str, Any]:
        try:
            value = json.loads(answer, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise self._error(f"the answer is not JSON: {_named(error)}", self._key()) from None
        if not isinstance(value, dict):
            raise self._error(f"the answer is a {type(value).__name__}, not an object", None)
        return value

    def _error(self, reason: str, key: str | None) -> ScorerError:
        self.close()
        reason = reason.replace(key, "***") if key else reason
        return ScorerError(f"server {self._host}: {' '.join(reason.split())[:300]}")


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a connection that another thread waits for."""
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__


def _message(answer: bytes) -> str:
    """What an error's body says, in OpenAI's form or any other."""
    try:
        value = json.loads(answer)
        error = value.get("error", value)
        return str(error.get("message", error) if isinstance(error, dict) else error)[:1000]
    except (ValueError, RecursionError, AttributeError):
        return answer[:1000].decode("utf-8", "replace")


def is_log_prob(value: Any) -> bool:
    """Whether a value of an answer is a finite number of at most 0 (up to rounding)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value <= 1e-6
