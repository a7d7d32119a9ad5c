"""A labelling site from Python: groups in, judgements out, and annotators that are programs.

from accord.collect import Client

site = Client("https://label.example.org", token)          # a token of /account, shown once
project = site.create_project("summaries", layout="pair", overlap=3)
site.import_groups(project["id"], "groups.jsonl")
...
for row in site.export(project["id"], kind="pairs"):
    print(row["chosen"])
"""

from __future__ import annotations

import gzip
import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from accord.collect import refusals
from accord.errors import AccordError, InputError, IntegrityError, ServiceError

PREFIX = "/api/v1"
BLOCK = 256 * 1024  # bytes
WAITS = (0.1, 0.3, 1.0, 3.0)  # seconds before each further try
REFUSED: dict[str, type[refusals.Refused]] = {
    one.kind: one
    for one in (
        refusals.NotKnown, refusals.NotAllowed, refusals.NotThere, refusals.Conflict, refusals.Stale, refusals.Taken,
        refusals.Invalid, refusals.TooLarge, refusals.TooMany,
    )
}  # fmt: skip
FORMATS = {".jsonl": "jsonl", ".json": "json", ".csv": "csv"}
Json = dict[str, Any]


class Client:
    """One account's access. Errors are AccordErrors: what the site refuses is a `refusals.Refused` (its `status`,
    `kind`, `fields`), a site that cannot be reached or stays busy a ServiceError.

    What is safe to repeat is repeated, where the site is busy or the connection breaks: nothing is stored twice.
    timeout: seconds for one request; of an export or import, for each part of it.
    """

    def __init__(self, url: str, token: str, *, timeout: float = 60.0, tries: int = len(WAITS) + 1) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError("no address of a site", where=url, fix="give one such as https://label.example.org")
        self._tries = tries
        self._http = httpx.Client(
            base_url=url.rstrip("/"), headers={"Authorization": f"Bearer {token}"}, timeout=timeout, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # Owners

    def projects(self) -> list[Json]:
        """Those that this account may see: id, name, version, archived, created, settings."""
        found: list[Json] = self._json("GET", "/projects")["projects"]
        return found

    def project(self, which: int | str) -> Json:
        """By number or name. NotThere: there is none that this account may see."""
        if isinstance(which, int):
            return self._json("GET", f"/projects/{which}")
        found = [one for one in self.projects() if one["name"] == which]
        if not found:
            raise refusals.NotThere("no such project", where=which)
        return found[0]

    def create_project(self, name: str, **settings: Any) -> Json:
        """A new project; settings as in docs/collect.md: layout="pair", overlap=3. Conflict: its name is taken."""
        return self._json("POST", "/projects", {"name": name, "settings": settings}, repeat=False)

    def change_project(self, project: int, **settings: Any) -> Json:
        """Other values for some settings. Stale: somebody else changed them in the same moment."""
        before = self.project(project)
        body = {"version": before["version"], "settings": {**before["settings"], **settings}}
        return self._json("PUT", f"/projects/{project}", body, repeat=False)

    def import_groups(
        self,
        project: int,
        source: str | Path | Iterable[Mapping[str, Any]],
        *,
        judgements: Literal["keep", "gold", "drop"] = "keep",
        sensitive: bool = False,
    ) -> Json:
        """Groups of a file (.jsonl, .json, .csv, or one of these with .gz), or rows of any format that is read; sent
        as they come. -> {"new", "same", "judgements"}. Invalid: a bad row, which is named; then none is taken.

            site.import_groups(3, ({"prompt": p, "chosen": c, "rejected": r} for p, c, r in pairs))
        """
        kind, blocks = ("jsonl", _lines(source)) if not isinstance(source, str | Path) else _file(Path(source))
        query = {"format": kind, "judgements": judgements, "sensitive": str(sensitive).lower()}
        with _told(str(self._http.base_url)):
            response = self._http.post(f"{PREFIX}/projects/{project}/groups", params=query, content=blocks)
        return self._read(response)

    def export(
        self,
        project: int,
        *,
        kind: Literal["groups", "pairs", "demonstrations"] = "groups",
        take: str = "all",
        ties: Literal["drop", "both"] = "drop",
    ) -> Iterator[Json]:
        """Rows, one by one, of one moment of the database. IntegrityError at the end: they are not what was sent."""
        with self._export(project, kind, take, ties) as response:
            for line in _checked(response):
                yield json.loads(line)

    def export_to(
        self, project: int, path: str | Path, *, kind: str = "groups", take: str = "all", ties: str = "drop"
    ) -> int:
        """The same into a file of lines of JSON; how many. After an error the file is not there."""
        path, rows = Path(path), 0
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with (
                self._export(project, kind, take, ties) as response,
                aside.open("w", encoding="utf-8", newline="") as file,
            ):
                for line in _checked(response):
                    file.write(line + "\n")
                    rows += 1
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        return rows

    def quality(self, project: int) -> Json:
        """Progress, agreement, and each annotator's numbers."""
        return self._json("GET", f"/projects/{project}/quality")

    def invite(self, role: Literal["admin", "annotator", "viewer"] = "annotator", project: int | None = None) -> str:
        """A link that makes one account, once, within a week."""
        link: str = self._json("POST", "/invitations", {"role": role, "project": project}, repeat=False)["link"]
        return link

    # Annotators

    def task(self, project: int) -> Json:
        """What the project asks: layout, scale, flags, ties, skips, instructions."""
        return self._json("GET", f"/projects/{project}/task")

    def next(self, project: int) -> Json | None:
        """The page that is open for this account, or a new one; None where nothing is left.

        while page := site.next(project):
            site.submit(page, {"ratings": {"A": 6, "B": 3}, "ranking": [["A"], ["B"]]})
        """
        return self._json("POST", f"/projects/{project}/next") or None

    def page(self, assignment: int) -> Json:
        """A page of this account, with what was submitted and drafted."""
        return self._json("GET", f"/assignments/{assignment}")

    def save_draft(self, page: Mapping[str, Any], answer: Mapping[str, Any], *, active_ms: int = 0) -> int:
        """Keeps what is not submitted yet; the new version. Stale: a newer one is stored."""
        body = {"version": page["draft_version"], "answer": answer, "active_ms": active_ms}
        version: int = self._json("PUT", f"/assignments/{page['assignment']}/draft", body, repeat=False)["version"]
        return version

    def submit(
        self,
        page: Mapping[str, Any],
        answer: Mapping[str, Any],
        *,
        active_ms: int = 0,
        wall_ms: int = 0,
        submission: str | None = None,
    ) -> Json:
        """Stores an answer, once, however often it has to be sent. -> the receipt, with `warnings`.

        Invalid: `fields` says what is missing. Taken: the page was left for too long, and others filled the group.
        """
        body = {
            "submission": submission or uuid.uuid4().hex, "answer": answer, "active_ms": active_ms, "wall_ms": wall_ms,
            "revision": page["revision"],
        }  # fmt: skip
        return self._json("POST", f"/assignments/{page['assignment']}/submit", body)

    def skip(self, page: Mapping[str, Any], reason: str) -> None:
        """Gives a page to somebody else."""
        self._json("POST", f"/assignments/{page['assignment']}/skip", {"reason": reason})

    def progress(self, project: int) -> Json:
        """done, skipped, left, active_ms of this account."""
        return self._json("GET", f"/projects/{project}/progress")

    def history(self, project: int, *, limit: int = 100, before: int | None = None) -> list[Json]:
        """This account's pages, the newest first."""
        query = f"?limit={limit}" + (f"&before={before}" if before else "")
        pages: list[Json] = self._json("GET", f"/projects/{project}/history{query}")["pages"]
        return pages

    def _json(self, method: str, path: str, body: Any = None, *, repeat: bool = True) -> Json:
        """One request, repeated while the site is busy; where that is safe, also after a connection that broke."""
        for wait in (*WAITS[: self._tries - 1], None):
            try:
                with _told(str(self._http.base_url)):
                    return self._read(self._http.request(method, PREFIX + path, json=body))
            except refusals.Busy as busy:
                last: AccordError = busy
            except ServiceError as error:
                if not repeat:
                    raise
                last = error
            if wait is None:
                raise last
            time.sleep(wait)
        raise AssertionError("at least one try")

    @contextmanager
    def _export(self, project: int, kind: str, take: str, ties: str) -> Iterator[httpx.Response]:
        query = {"kind": kind, "take": take, "ties": ties}
        base = str(self._http.base_url)
        with _told(base), self._http.stream("GET", f"{PREFIX}/projects/{project}/export", params=query) as response:
            if response.is_error:
                response.read()
                self._read(response)
            yield response

    @staticmethod
    def _read(response: httpx.Response) -> Json:
        """The body of an answer; an error's as the error that it is."""
        where = f"{response.request.method} {response.request.url.path}"
        try:
            body: Any = response.json() if response.content else {}
        except ValueError:
            body = None
        if response.is_success and isinstance(body, dict):
            return body
        said = body.get("error") if isinstance(body, dict) else None
        if not isinstance(said, dict):
            fix = "check the address: is it that of a labelling site?"
            raise ServiceError(f"an answer that is none of ours ({response.status_code})", where=where, fix=fix)
        raise _error(response.status_code, said, where)


def _error(status: int, said: Mapping[str, Any], where: str) -> AccordError:
    what, fix = str(said.get("what", "")), str(said.get("fix", ""))
    if kind := REFUSED.get(str(said.get("kind"))):
        return kind(what, where=where, fix=fix, fields=said.get("fields"))
    if status == 503:
        return refusals.Busy(what, where=where, fix=fix)
    if status == 507:
        return refusals.Full(what, where=where, fix=fix)
    return ServiceError(f"{what} ({status})", where=where, fix=fix)


@contextmanager
def _told(where: str) -> Iterator[None]:
    """What goes wrong between us and the site, as one of our errors."""
    try:
        yield
    except httpx.HTTPError as error:
        said = str(error) or type(error).__name__
        raise ServiceError(
            f"the site does not answer ({said})", where=where, fix="check the address, or wait"
        ) from error


def _lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Rows as lines, in blocks: a line at a time would be a packet at a time."""
    block: list[bytes] = []
    size = 0
    for row in rows:
        block.append(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        size += len(block[-1])
        if size >= BLOCK:
            yield b"".join(block)
            block, size = [], 0
    yield b"".join(block)


def _file(path: Path) -> tuple[str, Iterator[bytes]]:
    """Kind and bytes of a file; packed ones are unpacked here."""
    name = path.name.lower()
    kind = FORMATS.get(Path(name.removesuffix(".gz")).suffix)
    if kind is None:
        raise InputError("no kind of file that is sent", where=str(path), fix="give .jsonl, .json or .csv, or with .gz")
    if not path.is_file():
        raise InputError("no such file", where=str(path), fix="check the path")
    return kind, _blocks(path, packed=name.endswith(".gz"))


def _blocks(path: Path, *, packed: bool) -> Iterator[bytes]:
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        try:
            while block := file.read(BLOCK):
                yield block
        except (EOFError, gzip.BadGzipFile) as error:
            raise InputError(f"cannot be unpacked ({error})", where=str(path), fix="get the file again") from error


def _checked(response: httpx.Response) -> Iterator[str]:
    """The lines of an export. IntegrityError: their hash is not the one that the site gave."""
    import hashlib

    digest, rest = hashlib.sha256(), b""
    for block in response.iter_bytes(BLOCK):
        digest.update(block)
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line.decode("utf-8")
    if rest or digest.hexdigest() != response.headers.get("X-Accord-SHA256"):
        where = str(response.request.url)
        raise IntegrityError("an export that is not what was sent", where=where, fix="get it again")
