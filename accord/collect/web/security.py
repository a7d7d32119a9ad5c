"""What holds for every request: hosts, sizes, headers, and that what nobody foresaw tells nothing. Plain ASGI: fast."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from accord.collect.refusals import Refused, TooLarge
from accord.collect.web.config import ServerConfig

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
Header = tuple[bytes, bytes]
NO_STORE: Header = (b"cache-control", b"no-store")
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
UPLOADS = re.compile(r"/api/v1/projects/[^/]+/groups|/projects/[^/]+/import")  # where an admin may send a lot
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 2000
LINGER = 5.0  # seconds for which what is still being sent is thrown away, so that the answer can be read
Answer = Callable[[Request, Exception], Response]


class Wrong(Refused):
    """A request that cannot be read."""

    status, kind = 400, "wrong"


class Guard:
    """Around the whole site. answer: the response to an error; may_upload: whether its sender may send a lot.

    Every unsafe request that a form sent has its fields in request.state.form, whatever its endpoint declares.
    """

    def __init__(
        self, app: ASGIApp, config: ServerConfig, answer: Answer, may_upload: Callable[[Request], bool]
    ) -> None:
        self.app, self.config, self.answer, self.may_upload = app, config, answer, may_upload
        # Over plain http browsers say nothing of where a form comes from but Origin, and that only if a referrer may be
        # sent at all. To other sites none is sent either way.
        said = {**HEADERS, "referrer-policy": "same-origin"} if config.insecure else HEADERS
        self.headers = [(name.encode(), value.encode()) for name, value in said.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        # There are no websockets here: none is answered.

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        outgoing = Outgoing(send, self.headers, open_to_caches=scope["path"].startswith("/static/"))
        incoming = Incoming(receive, self.config.body_bytes)
        try:
            headers = Headers(scope=scope)
            self._check(scope, headers)
            if scope["method"] not in ("GET", "HEAD"):
                await self._admit(scope, headers, incoming)
            await self.app(scope, incoming, outgoing.unless(incoming))
            if incoming.refused is not None and not outgoing.started:
                raise incoming.refused
        except Exception as error:
            if outgoing.started:  # half an answer: the connection breaks, so that nobody takes it for a whole one
                raise
            request = Request(scope, incoming)
            if isinstance(error, TooLarge):
                await outgoing.and_linger(self.answer(request, error), scope, incoming)
            else:
                await self.answer(request, error)(scope, incoming, outgoing)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """The name under which we were reached, and how the body is wrapped. /health may be asked by any name."""
        host = host_name(headers.get("host", ""))
        if host not in self.config.names and scope["path"] != "/health":
            raise Wrong("this site does not answer to that name", fix="use its own address, or serve it with --host")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Wrong("the body is compressed", fix="send it as it is; files of groups may be .gz")

    async def _admit(self, scope: Scope, headers: Headers, incoming: Incoming) -> None:
        """How much may come; and the fields, where it is a form."""
        if UPLOADS.fullmatch(scope["path"]):
            allowed = await run_in_threadpool(self.may_upload, Request(scope))
            incoming.most = self.config.upload_bytes if allowed else incoming.most
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > incoming.most:
            raise incoming.too_large()
        if headers.get("content-type", "").split(";")[0].strip().lower() == FORM:
            body = await incoming.whole()
            scope.setdefault("state", {})["form"] = fields(body)


class Incoming:
    """The body of a request, counted."""

    def __init__(self, receive: Receive, most: int) -> None:
        self.receive, self.most, self.size, self.ended = receive, most, 0, False
        self.refused: TooLarge | None = None
        self.kept: Message | None = None

    async def __call__(self) -> Message:
        if self.kept is not None:
            kept, self.kept = self.kept, None
            return kept
        if self.refused is not None:
            raise self.refused
        message = await self.receive()
        self._note(message)
        if self.size > self.most:
            raise self.too_large()
        return message

    def too_large(self) -> TooLarge:
        self.refused = TooLarge(f"more than {self.most:,} bytes are not taken here", fix="send less at a time")
        return self.refused

    async def whole(self) -> bytes:
        """All of it; it is handed on again."""
        parts = []
        while not self.ended:
            parts.append((await self()).get("body", b""))
        body = b"".join(parts)
        self.kept = {"type": "http.request", "body": body, "more_body": False}
        return body

    async def throw_away(self) -> None:
        """What is still coming, for a while."""
        with anyio.move_on_after(LINGER):
            while not self.ended:
                self._note(await self.receive())

    def _note(self, message: Message) -> None:
        self.size += len(message.get("body", b""))
        self.ended = message["type"] != "http.request" or not message.get("more_body", False)


class Outgoing:
    """The answer, with the headers that all have."""

    def __init__(self, send: Send, headers: Sequence[Header], *, open_to_caches: bool) -> None:
        self.send, self.headers, self.open_to_caches, self.started = send, headers, open_to_caches, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            raw = [one for one in message.get("headers", []) if self.open_to_caches or one[0] != b"cache-control"]
            kept = self.open_to_caches and any(name == b"cache-control" for name, _ in raw)
            message["headers"] = [*raw, *self.headers, *(() if kept else [NO_STORE])]
        await self.send(message)

    def unless(self, incoming: Incoming) -> Send:
        """What the application says of a body that was cut off is not what it was cut off for: it is not sent."""

        async def send(message: Message) -> None:
            if incoming.refused is None or self.started:
                await self(message)

        return send

    async def and_linger(self, response: Response, scope: Scope, incoming: Incoming) -> None:
        """An answer while the other side is still sending: closed at once, it would never be read."""
        response.headers["connection"] = "close"
        await self({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await self({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
        await incoming.throw_away()
        await self({"type": "http.response.body", "body": b"", "more_body": False})


def host_name(host: str) -> str:
    """Without the port, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def fields(body: bytes) -> ImmutableMultiDict[str, str]:
    """The fields of a form, in their order; several of one name are kept. Wrong: it cannot be read."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise Wrong("the form cannot be read") from error
    return ImmutableMultiDict(pairs)
