"""What holds for every request: headers, hosts, sizes, and errors that tell nothing. FAULTS: 50, 58."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.testclient import TestClient

from accord.collect.refusals import Busy, Full, Stale
from accord.collect.web.context import form, visitor
from accord.collect.web.pages import Static
from accord.collect.web.security import Guard
from accord.errors import InputError, ServiceError
from tests.collect_requests import PASSWORD, Site, a_site, quickly  # noqa: F401 - fixtures

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
MB = 1_000_000


def fail(site: Site, error: Exception) -> None:
    """From now on /fails and /api/v1/fails do so."""

    def endpoint(request: Request) -> None:
        raise error

    site.app.add_api_route("/fails", endpoint)
    site.app.add_api_route("/api/v1/fails", endpoint)


def test_every_answer_has_the_headers(site: Site) -> None:
    fail(site, RuntimeError("secret detail"))
    admin = site.browser("Admin")
    answers = [admin.get(address) for address in ("/", "/login", "/account", "/nowhere", "/api/v1/nowhere", "/fails")]
    answers += [admin.post("/account/sensitive"), admin.post("/account/sensitive", csrf="wrong")]
    answers += [admin.get("/account", headers={"host": "evil.example"}), admin.post("/login", {"name": "x" * 2 * MB})]
    assert sorted({answer.status_code for answer in answers}) == [200, 303, 400, 403, 404, 413, 500]
    for answer in answers:
        assert answer.headers["content-security-policy"] == CSP
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("address", ["/login", "/account", "/nowhere", "/join/x"])
def test_pages_need_nothing_that_the_policy_forbids(site: Site, address: str) -> None:
    page = site.browser("Admin").get(address).text
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert set(re.findall(r'(?:src|href|action)="([^"#]*)', page)) <= {
        *re.findall(r'"(/[^"/][^"]*|/)"', page), ""
    }  # fmt: skip
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page


def test_static_files_are_kept_by_what_they_hold(site: Site, tmp_path: Any) -> None:
    page = site.browser().get("/login").text
    style = re.findall(r'href="(/static/[^"]+\.css)"', page)[0]
    got = site.browser().get(style)
    assert got.status_code == 200 and got.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert got.headers["content-type"].startswith("text/css") and got.headers["content-security-policy"] == CSP
    other = re.sub(r"/static/[^/]+/", "/static/0000/", style)
    assert site.browser().get(other).headers["cache-control"] == "no-store"
    for name in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "nothing.js", ""):
        assert site.browser().get(f"/static/x/{name}").status_code == 404, name
    (tmp_path / "a.js").write_text("1")
    first = Static(tmp_path).version
    (tmp_path / "a.js").write_text("2")
    assert Static(tmp_path).version != first


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "[::2]"])
def test_a_host_that_is_not_ours_is_not_answered(site: Site, host: str) -> None:
    answer = site.browser().get("/login", headers={"host": host})
    assert answer.status_code == 400 and "set-cookie" not in answer.headers
    assert site.browser().get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:8000", "[::1]:8000"])
def test_a_site_on_this_machine_answers_to_its_names(site: Site, host: str) -> None:
    assert site.browser().get("/login", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("address", ["/login", "/account/sensitive", "/api/v1/invitations", "/nowhere"])
def test_more_than_a_megabyte_is_not_taken(site: Site, address: str) -> None:
    admin = site.browser("Admin")
    headers = {"origin": site.config.origin, "x-csrf-token": admin.csrf, "content-type": "application/json"}
    before = site.counts()
    answer = admin.client.post(address, content=b"x" * (MB + 1), headers=headers)
    assert answer.status_code == 413 and answer.headers["connection"] == "close"
    form = {**headers, "content-type": "application/x-www-form-urlencoded"}
    assert admin.client.post(address, content=iter([b"name=x"] * 200_000), headers=form).status_code == 413
    assert site.counts() == before


class Asked:
    """An application that reads its whole body, and the guard around it, spoken to without a server."""

    def __init__(self, site: Site, most: int = 10_000) -> None:
        self.read, self.taken = 0, 0
        self.sent: list[dict[str, Any]] = []
        guard_of = next(one for one in site.app.user_middleware if one.cls is Guard)
        self.guard = Guard(self.application, **guard_of.kwargs)
        self.site = site

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            self.taken += len(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def body(self, blocks: int, size: int) -> AsyncIterator[dict[str, Any]]:
        for n in range(blocks):
            self.read += size
            yield {"type": "http.request", "body": b"x" * size, "more_body": n + 1 < blocks}

    def ask(self, path: str, headers: dict[str, str], blocks: int, size: int = 65536) -> int:
        """The status of an answer to a body that comes in blocks, with no word of its length."""
        stream = self.body(blocks, size)

        async def send(message: dict[str, Any]) -> None:
            self.sent.append(message)

        async def receive() -> dict[str, Any]:
            return await anext(stream)

        raw = [(b"host", b"127.0.0.1:8000"), *((k.encode(), v.encode()) for k, v in headers.items())]
        scope = {
            "type": "http", "method": "POST", "path": path, "headers": raw, "query_string": b"", "app": self.site.app,
            "client": ("10.0.0.1", 1), "state": {},
        }  # fmt: skip
        asyncio.run(self.guard(scope, receive, send))  # type: ignore[arg-type]
        return int(self.sent[0]["status"])


def test_chunks_without_a_length_are_counted(site: Site) -> None:
    asked = Asked(site)
    assert asked.ask("/api/v1/invitations", {"transfer-encoding": "chunked"}, blocks=200) == 413
    assert asked.taken <= MB  # the application was given no more, however much came
    assert len([one for one in asked.sent if one["type"] == "http.response.start"]) == 1
    assert json.loads(asked.sent[1]["body"])["error"]["kind"] == "too_large"


@pytest.mark.parametrize(
    ("who", "scope", "status"),
    [("Admin", "admin", 200), ("Admin", "read", 413), ("Anna", "label", 413), ("Vera", "read", 413), ("", "", 413)],
)
def test_only_an_admin_sends_a_lot_and_only_to_the_import(site: Site, who: str, scope: str, status: int) -> None:
    headers = site.token(who, scope) if who else {}
    assert Asked(site).ask("/api/v1/projects/1/groups", headers, blocks=40) == status
    assert Asked(site).ask("/api/v1/projects/1/groups/1", headers, blocks=40) == 413
    too_much = site.config.upload_bytes // 4_000_000 + 1
    assert Asked(site).ask("/api/v1/projects/1/groups", headers, blocks=too_much, size=4_000_000) == 413


@pytest.mark.parametrize(
    "body",
    [b"[" * 1_000_000, b'{"a":' * 150_000, b"[" * 100_000 + b"]" * 100_000, b"1" * 900_000, b"\xff\xfe", b"{", b""],
    ids=["lists", "objects", "closed lists", "digits", "no text", "cut off", "nothing"],
)
def test_json_that_cannot_be_read_is_refused(site: Site, body: bytes) -> None:
    headers = {**site.token("Admin", "admin"), "content-type": "application/json"}
    answer = site.browser().client.post("/api/v1/invitations", content=body, headers=headers)
    assert answer.status_code in (400, 422) and answer.status_code == (422 if body == b"" else answer.status_code)
    if len(body) > 10:
        assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"kind", "what", "fix", "fields"} and len(answer.content) < 500


def test_a_compressed_body_is_not_unpacked(site: Site) -> None:
    headers = {**site.token("Admin", "admin"), "content-encoding": "gzip"}
    assert site.browser().client.post("/api/v1/invitations", content=b"\x1f\x8b", headers=headers).status_code == 400


@pytest.mark.parametrize("body", [b"a=%ff", b"a=" + b"&a=" * 3000, b"\xff=1"], ids=["no text", "3000 fields", "latin"])
def test_a_form_that_cannot_be_read_is_refused(site: Site, body: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": site.config.origin}
    assert site.browser().client.post("/login", content=body, headers=headers).status_code == 400


def test_fields_of_one_name_are_all_kept_and_read_twice(site: Site) -> None:
    async def endpoint(request: Request) -> dict[str, Any]:
        return {"mine": form(request).getlist("a"), "its": (await request.form()).getlist("a")}

    site.app.add_api_route("/fields", endpoint, methods=["POST"])
    sent = site.browser().client.post("/fields", data={"a": ["1", "\u00e4 & b"]})
    assert sent.json() == {"mine": ["1", "\u00e4 & b"], "its": ["1", "\u00e4 & b"]}


def test_a_form_with_a_file_carries_its_token_too(site: Site) -> None:
    async def endpoint(request: Request) -> dict[str, str]:
        await request.form()
        return {"name": visitor(request).account.name}

    site.app.add_api_route("/file", endpoint, methods=["POST"])
    anna = site.browser("Anna")
    file = {"file": ("a.jsonl", b"{}")}
    assert anna.post("/file", files=file).json() == {"name": "Anna"}
    assert anna.post("/file", files=file, csrf="wrong").status_code == 403


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry"),
    [
        (Stale("somebody was first", where="draft", fix="load again"), 409, "stale", None),
        (InputError("is no JSON", where="prefs.jsonl:6", fix="mend it"), 422, "invalid", None),
        (Busy("busy", where="/srv/secret.db"), 503, "busy", "2"),
        (Full("full", where="/srv/secret.db"), 507, "full", None),
        (ServiceError("host 10.9.8.7 secret", where="postgresql://u@h"), 503, "unreachable", "10"),
        (RuntimeError("secret at /srv"), 500, "failed", None),
        (RecursionError("secret"), 500, "failed", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_errors_are_told_to_programs_and_people(
    site: Site, caplog: pytest.LogCaptureFixture, error: Exception, status: int, kind: str, retry: str | None
) -> None:
    fail(site, error)
    with caplog.at_level(logging.ERROR, "accord.collect"):
        api, page = site.browser().get("/api/v1/fails"), site.browser("Anna").get("/fails")
    assert (api.status_code, page.status_code) == (status, status)
    assert api.json()["error"]["kind"] == kind and api.headers.get("retry-after") == retry
    assert page.headers["content-type"] == "text/html; charset=utf-8" and "<h1>" in page.text
    for said in (api.text, page.text):
        assert "secret" not in said and "Traceback" not in said and "/srv" not in said and "10.9.8.7" not in said
    logged = [record for record in caplog.records if record.name == "accord.collect"]
    assert len(logged) == (2 if status in (500, 507) or kind == "unreachable" else 0)
    if status == 500:
        word = re.findall(r"\(([0-9a-f]{8})\)", api.text)[0]
        assert word in logged[0].getMessage() and logged[0].exc_info is not None


def test_half_an_answer_is_not_taken_for_a_whole_one(site: Site) -> None:
    from starlette.responses import StreamingResponse

    def lines() -> Any:
        yield b"one line\n"
        raise RuntimeError("the database went away")

    site.app.add_api_route("/half", lambda: StreamingResponse(lines()))
    with pytest.raises(RuntimeError), TestClient(site.app, base_url=site.config.url) as client:
        client.get("/half")


@pytest.mark.parametrize(
    ("asked", "there"),
    [("/projects/1?a=b", "/projects/1?a=b"), ("//evil.example", "/home"), ("https://evil.example", "/home"),
     ("/\\evil.example", "/home"), ("\\\\evil.example", "/home"), ("/a\r\nb", "/home"), ("", "/home"),
     ("/login?next=/login", "/home"), ("javascript:alert(1)", "/home"), ("/\t/evil.example", "/home")],
)  # fmt: skip
def test_after_a_login_one_stays_on_the_site(site: Site, asked: str, there: str) -> None:
    browser = site.browser()
    browser.open("/login")
    answer = browser.post("/login", {"name": "Anna", "password": PASSWORD, "next": asked})
    assert answer.status_code == 303 and answer.headers["location"] == there


def test_who_is_still_sending_reads_the_answer(site: Site) -> None:
    """Over a real connection: 40 MB in chunks to a server that takes one; it reads no more than it has to keep."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(site.app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with socket.create_connection(listening.getsockname(), timeout=20) as connection:
            head = "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
            connection.sendall(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode())
            chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
            for _ in range(600):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
            answer = b""
            while block := connection.recv(65536):
                answer += block
    finally:
        server.should_exit = True
        thread.join(20)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"connection: close" in answer.lower()
    assert b"more than 1,000,000 bytes" in answer
