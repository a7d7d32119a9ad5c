"""Simulated annotators: many at once over HTTP, who double-click, lose the connection, skip, and leave.

The whole way is tried: the server, its API, the database. Afterwards what came out is held against what was put in
(accord.collect.simulated_report).
"""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
from sqlalchemy import delete, select

from accord.collect import accounts, names, people_model, projects, queue, submissions, tokens
from accord.collect.client import Client
from accord.collect.database import Database, secret
from accord.collect.people_model import USUAL, Habits
from accord.collect.projects import Project
from accord.collect.refusals import Taken
from accord.collect.roles import Account
from accord.collect.schema import account, item, output, token
from accord.collect.web.api_shown import page_json, task_json, turns
from accord.errors import InputError, ServiceError

NAME = "simulated {}"
HURRY = 0.001  # seconds: an answer that nobody waits for
HOUR = 3600.0
Json = dict[str, Any]


@dataclass(frozen=True)
class Simulation:
    """annotators: how many, all at once. double_clicks, lost_connections: shares of the submissions that are sent twice
    at once, or whose answer never arrives, so that they are sent again. most: pages of one annotator. strengths: of the
    models, in logits; not given: evenly from -1 to 1, in an order drawn by the seed. spread: of one model's outputs.
    """

    annotators: int = 20
    habits: Habits = USUAL
    double_clicks: float = 0.1
    lost_connections: float = 0.05
    most: int | None = None
    seed: int = 0
    strengths: Mapping[str, float] | None = None
    spread: float = 0.0


class Site(Protocol):
    """What an annotator needs of a site: accord.collect.Client has it, and `Direct`."""

    def task(self, project: int) -> Json: ...
    def next(self, project: int) -> Json | None: ...
    def submit(self, page: Json, answer: Json, *, active_ms: int, wall_ms: int, submission: str) -> Json: ...
    def skip(self, page: Json, reason: str) -> None: ...


class Direct:
    """One account, without a server between it and the database: for many judgements in little time."""

    def __init__(self, database: Database, account_id: int) -> None:
        self.database, self.account = database, account_id
        with database.read() as connection:
            self.secret = secret(connection)

    def task(self, project: int) -> Json:
        with self.database.read() as connection:
            return task_json(projects.find(connection, project))

    def next(self, project: int) -> Json | None:
        with self.database.write() as connection:
            found = queue.next_page(connection, self.secret, project, self.account, time.time())
            settings = projects.find(connection, project).settings
        return None if found is None else page_json(found, settings)

    def submit(self, page: Json, answer: Json, *, active_ms: int, wall_ms: int, submission: str) -> Json:
        with self.database.write() as connection:
            return submissions.submit(
                connection, page["assignment"], self.account, submission=submission, answer=answer,
                active_ms=active_ms, wall_ms=wall_ms, revision=page["revision"], now=time.time(),
            ).to_json()  # fmt: skip

    def skip(self, page: Json, reason: str) -> None:
        with self.database.write() as connection:
            submissions.skip(connection, page["assignment"], self.account, reason=reason, now=time.time())


class Hasty(Client):
    """A client that can send a submission and not wait for the answer: its connection is lost."""

    def lose(self, page: Json, answer: Json, submission: str) -> None:
        body = {"submission": submission, "answer": answer, "revision": page["revision"]}
        try:
            timeout = httpx.Timeout(10.0, read=HURRY)
            self._http.post(f"/api/v1/assignments/{page['assignment']}/submit", json=body, timeout=timeout)
        except httpx.HTTPError:
            pass  # as it is meant


class Truth:
    """The quality of every output, found by its texts: so nobody needs to know which group or model it is.

    A text that several outputs have is as good as they are on average. models: of each group's outputs; None where no
    model is named, or where several wrote that text, so that nothing can be learnt of theirs.
    """

    def __init__(self, database: Database, project: int, simulation: Simulation) -> None:
        with database.read() as connection:
            rows = connection.execute(
                select(item.c.id, item.c.key, item.c.prompt, output.c.place, output.c.content, output.c.model)
                .join(output, output.c.item_id == item.c.id)
                .where(item.c.project_id == project)
                .order_by(item.c.id, output.c.place)
            ).all()
        named = {row.model for row in rows if row.model is not None}
        self.strengths = dict(simulation.strengths or people_model.strengths(sorted(named), simulation.seed))
        texts = [
            _text(turns(json.loads(row.prompt), "user"), turns(json.loads(row.content), "assistant")) for row in rows
        ]
        given: dict[str, list[float]] = {}
        writers: dict[str, set[str | None]] = {}
        for row, text in zip(rows, texts, strict=True):
            own = people_model.own_part(simulation.seed, row.key, row.place, simulation.spread)
            given.setdefault(text, []).append(self.strengths.get(row.model, 0.0) + own)
            writers.setdefault(text, set()).add(row.model)
        self.of_text = {text: sum(values) / len(values) for text, values in given.items()}
        self.of_item: dict[int, list[float]] = {}
        self.models: dict[int, list[str | None]] = {}
        for row, text in zip(rows, texts, strict=True):
            self.of_item.setdefault(row.id, []).append(self.of_text[text])
            self.models.setdefault(row.id, []).append(row.model if len(writers[text]) == 1 else None)

    def quality(self, page: Json, output: Json) -> float:
        """InputError: the site shows a text that is not in the database."""
        found = self.of_text.get(_text(_plain(page["prompt"]), _plain(output["turns"])))
        if found is None:
            raise InputError("a text is shown that no group has", where=f"page {page['number']}")
        return found


def _plain(shown: list[Json]) -> list[Json]:
    return [{"role": one["role"], "text": one["text"]} for one in shown]


def _text(prompt: list[Json], content: list[Json]) -> str:
    return json.dumps([prompt, content], sort_keys=True)


@dataclass
class Done:
    """What all annotators did. doubled, lost: submissions that were sent twice at once, or whose answer was lost."""

    submitted: int = 0
    skipped: int = 0
    doubled: int = 0
    lost: int = 0
    taken: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str) -> None:
        with self.lock:
            setattr(self, name, getattr(self, name) + 1)


class Person:
    """One annotator. again: a second connection, of their second click."""

    def __init__(self, number: int, site: Site, again: Site, simulation: Simulation, truth: Truth, done: Done) -> None:
        self.site, self.again, self.simulation, self.truth, self.done = site, again, simulation, truth, done
        self.chance = random.Random(f"annotator {simulation.seed} {number}")
        self.pages = 0

    def work(self, project: int) -> int:
        """Judges until nothing is left, or enough is done; how many pages."""
        task, began = self.site.task(project), self.pages
        while self.simulation.most is None or self.pages < self.simulation.most:
            page = self.site.next(project)
            if page is None:
                break
            self.pages += 1
            if self.chance.random() < self.simulation.habits.skips:
                self.site.skip(page, (task["skips"] or ["no reason"])[0])
                self.done.count("skipped")
            else:
                self._judge(page, task)
        return self.pages - began

    def _judge(self, page: Json, task: Json) -> None:
        qualities = [self.truth.quality(page, one) for one in page["outputs"]]
        habits, chance = self.simulation.habits, self.chance
        answer = people_model.answer(people_model.seen(qualities, habits, chance), task, habits, chance)
        id, active = str(uuid.UUID(int=chance.getrandbits(128), version=4)), chance.randint(20_000, 90_000)
        given: dict[str, Any] = {"active_ms": active, "wall_ms": active + 5_000, "submission": id}
        try:
            if chance.random() < self.simulation.lost_connections and isinstance(self.site, Hasty):
                self.site.lose(page, answer, id)
                self.done.count("lost")
            if chance.random() < self.simulation.double_clicks:
                self._twice(page, answer, given)
            else:
                self.site.submit(page, answer, **given)
            self.done.count("submitted")
        except Taken:
            self.done.count("taken")

    def _twice(self, page: Json, answer: Json, given: dict[str, Any]) -> None:
        """ServiceError: the two clicks did not get the same receipt."""
        with ThreadPoolExecutor(1) as other:
            second = other.submit(self.again.submit, page, answer, **given)
            first = self.site.submit(page, answer, **given)
        same = ("assignment", "revision", "status")
        if [first[name] for name in same] != [second.result()[name] for name in same]:
            raise ServiceError("a submission sent twice was stored twice", where=f"page {page['number']}")
        self.done.count("doubled")


def simulate(
    database: Database, project: Project, simulation: Simulation, *, over_http: bool = True
) -> tuple[Done, Truth]:
    """Labels a project. over_http: by a server on loopback, started here; else straight on the database, one after the
    other. InputError: texts that were altered on the way; ServiceError: whatever else went wrong.
    """
    truth, done = Truth(database, project.id, simulation), Done()
    ids = people(database, project, simulation.annotators)
    if not over_http:
        direct = [Direct(database, id) for id in ids]
        crew = [Person(i, one, one, simulation, truth, done) for i, one in enumerate(direct)]
        _rounds(crew, lambda one: one.work(project.id), workers=1)
        return done, truth
    with served(database) as url, connected(database, url, ids) as pairs:
        crew = [Person(i, *pair, simulation, truth, done) for i, pair in enumerate(pairs)]
        _rounds(crew, lambda one: one.work(project.id), workers=len(crew))
    return done, truth


def _rounds(crew: list[Person], work: Callable[[Person], int], *, workers: int) -> None:
    """Again as long as somebody found something: what one skips or leaves is there for the others later."""
    with ThreadPoolExecutor(workers) as pool:
        while sum(pool.map(work, crew)):
            pass


def people(database: Database, project: Project, count: int) -> list[int]:
    """Accounts named `simulated 1` ..., without a password; made where they are not there yet, and members."""
    ids, now = [], time.time()
    with database.write() as connection:
        for number in range(1, count + 1):
            name = NAME.format(number)
            known = connection.execute(select(account.c.id).where(account.c.key == names.key_of(name))).scalar()
            if known is None:
                known = accounts.create_account(connection, name, "annotator", None, "simulation", now, imported=True)
            if project.settings.members == "chosen":
                projects.add_member(connection, project.id, known)
            ids.append(int(known))
    return ids


@contextmanager
def connected(database: Database, url: str, ids: list[int]) -> Iterator[list[tuple[Hasty, Hasty]]]:
    """Two clients for each account, by a token that is gone afterwards."""
    now, made = time.time(), []
    with database.write() as connection:
        for id in ids:
            who = accounts.find(connection, id)
            owner = Account(who.id, who.name, who.role, who.sensitive)
            made.append(tokens.make(connection, owner, "simulation", "label", now, now + 24 * HOUR))
    pairs = [(Hasty(url, text), Hasty(url, text)) for text in made]
    try:
        yield pairs
    finally:
        for client in (one for pair in pairs for one in pair):
            client.close()
        with database.write() as connection:
            connection.execute(delete(token).where(token.c.account_id.in_(ids), token.c.name == "simulation"))


@contextmanager
def served(database: Database) -> Iterator[str]:
    """The site over this database, on loopback, in a thread of this process."""
    import uvicorn

    from accord.collect.serve import TURN
    from accord.collect.web.app import create_app
    from accord.collect.web.config import ServerConfig

    turn = sys.getswitchinterval()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = uvicorn.Config(
            create_app(database, ServerConfig(url)), log_level="error", access_log=False, ws="none"
        )
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="site", daemon=True)
        thread.start()
        sys.setswitchinterval(TURN)
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(30)
            sys.setswitchinterval(turn)
