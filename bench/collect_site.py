"""A labelling site to measure: a database with groups and annotators, and its server in a process of its own."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from accord.collect import accounts, projects, tokens
from accord.collect.database import open_database
from accord.collect.importing import import_groups
from accord.collect.migrate import create_database
from accord.collect.roles import Account
from accord.collect.schema import assignment, item, judgement
from accord.collect.settings import Settings
from accord.records import Completion, Group

ROOT = Path(__file__).resolve().parents[1]
OVERLAP = 3
WORDS = (
    "the of and a to in is you that it he was for on are as with his they at be this have from or one had by".split()
)
PROGRAM = "import sys, json; from accord.collect.serve import *; serve(Serving(**json.loads(sys.argv[1])))"


def groups(count: int, k: int = 4) -> Iterator[Group]:
    """Groups as long as real ones: a prompt of 40 words, outputs of 150, all different."""
    chance = random.Random(0)
    said = chance.choices(WORDS, k=100_000)
    for i in range(count):
        start = chance.randrange(len(said) - 150 * k)
        outputs = tuple(
            Completion(" ".join([str(i), *said[start + 150 * place : start + 150 * (place + 1)]]), f"model-{place}")
            for place in range(k)
        )
        yield Group(f"group-{i}", " ".join([str(i), *said[start : start + 40]]), outputs)


@dataclass
class Served:
    """tokens: one for each annotator."""

    url: str
    project: int
    tokens: list[str]
    accounts: list[int]
    port: int = 0
    pid: int = 0

    def processor(self) -> float:
        """Seconds of the processor that the server has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """The most bytes that it held at once."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

    def lost(self, acknowledged: list[str]) -> int:
        """Submissions that were acknowledged and are not in the database."""
        database = open_database(self.url)
        with database.read() as connection:
            there = set(connection.execute(select(judgement.c.submission)).scalars())
        database.close()
        return len(set(acknowledged) - there)

    def over_assigned(self) -> int:
        """Groups that more people have, or had, than were wanted."""
        had = (
            select(assignment.c.item_id, func.count(func.distinct(assignment.c.account_id)).label("people"))
            .where(assignment.c.kind == "label", assignment.c.status.in_(("open", "done")))
            .group_by(assignment.c.item_id)
            .subquery()
        )
        many = select(func.count()).select_from(had).join(item, item.c.id == had.c.item_id)
        database = open_database(self.url)
        with database.read() as connection:
            found = connection.execute(many.where(had.c.people > item.c.wanted)).scalar_one()
        database.close()
        return int(found)


def filled(url: str, *, groups: int, annotators: int) -> Served:
    """A database with an admin, annotators and a project; its groups are imported as users import theirs."""
    given = globals()["groups"](groups)
    database, now = create_database(url), time.time()
    with database.write() as connection:
        accounts.create_account(connection, "admin", "admin", "correct horse battery staple", "bench", now)
        project = projects.create(connection, "bench", Settings(overlap=OVERLAP), "bench", now)
        people = [
            accounts.create_account(connection, f"annotator-{i}", "annotator", None, "bench", now, imported=True)
            for i in range(annotators)
        ]
        made = [
            tokens.make(connection, Account(id, f"annotator-{i}", "annotator", True), "bench", "label", now)
            for i, id in enumerate(people)
        ]
    if groups:
        import_groups(database, project, given, actor="bench", judgements="drop", now=now)
    database.close()
    return Served(url, project, made, people)


@contextmanager
def served(site: Served) -> Iterator[None]:
    """Its server, in a process of its own, until the end of the block."""
    site.port = free_port()
    given = json.dumps({"database": site.url, "port": site.port})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, given], env=environment, stdout=subprocess.DEVNULL
    ) as process:
        site.pid = process.pid
        try:
            wait(f"http://127.0.0.1:{site.port}/health", process)
            yield
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait(address: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Until somebody answers there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"bench: the server ended ({process.returncode})")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"bench: nobody answers at {address}")
