"""One POST of JSON to a URL that was given, and to no other: no redirect is followed, no proxy asked."""

from __future__ import annotations

import http.client
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

PASSING = (408, 425, 429)  # statuses of a client's mistake that time mends


class NoAnswer(Exception):
    """Why a request brought nothing.

    lasting: asking again does not help. status: HTTP's, None where none came. nobody: there was no connection, or it
    broke off. after: seconds that the server asks to be left alone.
    """

    def __init__(
        self,
        what: str,
        *,
        lasting: bool = False,
        status: int | None = None,
        nobody: bool = False,
        after: float | None = None,
    ) -> None:
        self.lasting, self.status, self.nobody, self.after = lasting, status, nobody, after
        super().__init__(what)


def post(url: str, body: bytes, *, timeout: float, token: str | None, largest: int) -> bytes:
    """The body of an answer of status 200, of at most `largest` bytes. NoAnswer: there is none.

    timeout: seconds for all of it, from the connection to the last byte. token: sent as Authorization: Bearer.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme.lower() == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        with closing(connection):
            connection.connect()
            with _within(connection.sock, timeout) as is_late:
                try:
                    connection.request("POST", path, body, headers)
                    found = _body(connection.getresponse(), largest)
                except (OSError, http.client.HTTPException, NoAnswer):
                    if not is_late():
                        raise
            if is_late():
                raise TimeoutError
            return found
    except TimeoutError as error:
        raise NoAnswer(f"no whole answer within {timeout:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        said = getattr(error, "strerror", None) or error or type(error).__name__
        raise NoAnswer(f"{said}", nobody=True) from error


def shown(url: str) -> str:
    """A URL without its query, which may hold a key."""
    return url.partition("?")[0]


@contextmanager
def _within(connected: socket.socket, seconds: float) -> Iterator[Callable[[], bool]]:
    """Ends the connection after so many seconds, though bytes may still come one by one; gives whether it did."""
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(OSError):  # it has ended by itself
            connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield late.is_set
    finally:
        timer.cancel()


def _body(response: http.client.HTTPResponse, largest: int) -> bytes:
    status = response.status
    if status != 200:
        said = " ".join(response.read(300).decode(errors="replace").split())
        what = f"HTTP {status} {response.reason}{': ' + said if said else ''}"
        if 300 <= status < 400:
            what += f" (to {response.headers.get('Location')}, which is not followed)"
        lasting = 300 <= status < 500 and status not in PASSING
        raise NoAnswer(what, lasting=lasting, status=status, after=_seconds(response.headers.get("Retry-After")))
    found = response.read(largest + 1)
    if len(found) > largest:
        raise NoAnswer(f"an answer of more than {largest:,} bytes", status=status)
    if response.length:
        raise NoAnswer(f"the answer ended {response.length:,} bytes too soon", status=status)
    return found


def _seconds(said: str | None) -> float | None:
    """What Retry-After says, seconds or a date (RFC 9110, 10.2.3); None for what is neither."""
    if not said:
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
